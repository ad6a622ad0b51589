/* Where a shared object's calls of libc functions go: found, pointed at the hooks, and put back.
 *
 * Facts.  A shared object calls a function of another one through a slot of its own, which the
 * dynamic linker has filled in or fills in at the first call.  The object's dynamic section says which
 * slots there are and by which symbol each is filled.
 *
 * Decision.  The slot is written.  Nobody else is concerned: not the other objects of the process,
 * not libc, not what Python's own modules call.
 *
 * Cost.  0.02 to 0.3 ms for each object that is taken over, none for the others.
 *
 * 1. A slot that lies in a page which the linker has made read-only is made writable for the store.
 * 2. What was in a slot is never called: where the linker binds late it is the linker's own code,
 *    which would overwrite the hook.  The hooks call the functions by their names.
 * 3. The loader's lock is held while its list is walked; no Python runs then.
 * 4. A slot is put back only if it still holds the hook and its object is still loaded.
 * 5. The code of the hooks stays mapped for ever: other OS threads may be in it at any time.
 *
 * With the global lock held. */
#include "libc_calls.h"

#ifdef HAS_LIBC_HOOKS
#include <link.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { JUMP_SLOT = R_X86_64_JUMP_SLOT, GLOB_DAT = R_X86_64_GLOB_DAT, ABSOLUTE = R_X86_64_64 };
#else
enum { JUMP_SLOT = R_AARCH64_JUMP_SLOT, GLOB_DAT = R_AARCH64_GLOB_DAT, ABSOLUTE = R_AARCH64_ABS64 };
#endif

/* What of an object is asked for, read while the loader's lock is held; its strings are its own. */
typedef struct {
    const char *path, *strings, *name;
    uintptr_t base;
    const ElfW(Dyn) *dynamic;
    const ElfW(Sym) *symbols;
    const ElfW(Rela) *tables[2];
    size_t counts[2];
    uintptr_t read_only, read_only_end;
} Object;

typedef struct {
    Object *objects;
    size_t count, room;
} Objects;

static int found_object(struct dl_phdr_info *info, size_t size, void *to)
{
    (void)size;
    Objects *all = to;
    if (all->count == all->room) {
        size_t room = all->room ? 2 * all->room : 128;
        Object *more = PyMem_RawRealloc(all->objects, room * sizeof *more);
        if (more == NULL) return 1;
        all->objects = more;
        all->room = room;
    }
    Object *o = &all->objects[all->count];
    memset(o, 0, sizeof *o);
    o->path = info->dlpi_name;
    o->base = info->dlpi_addr;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_DYNAMIC) o->dynamic = (void *)(o->base + part->p_vaddr);
        if (part->p_type == PT_GNU_RELRO) {
            o->read_only = (o->base + part->p_vaddr) & ~(page - 1);
            o->read_only_end = (o->base + part->p_vaddr + part->p_memsz) & ~(page - 1);
        }
    }
    /* glibc relocates these addresses where they stand, musl does not. */
#define ADDRESS(value) (void *)((value) >= o->base ? (value) : (value) + o->base)
    size_t name = 0;
    for (const ElfW(Dyn) *each = o->dynamic; each != NULL && each->d_tag != DT_NULL; each++)
        switch (each->d_tag) {
        case DT_STRTAB: o->strings = ADDRESS(each->d_un.d_ptr); break;
        case DT_SYMTAB: o->symbols = ADDRESS(each->d_un.d_ptr); break;
        case DT_JMPREL: o->tables[0] = ADDRESS(each->d_un.d_ptr); break;
        case DT_PLTRELSZ: o->counts[0] = each->d_un.d_val / sizeof(ElfW(Rela)); break;
        case DT_RELA: o->tables[1] = ADDRESS(each->d_un.d_ptr); break;
        case DT_RELASZ: o->counts[1] = each->d_un.d_val / sizeof(ElfW(Rela)); break;
        case DT_SONAME: name = each->d_un.d_val; break;
        }
    if (o->strings == NULL || o->symbols == NULL) return 0; /* the vdso, for instance */
    o->name = name ? o->strings + name : "";
    all->count++;
    return 0;
}

static Objects loaded(void)
{
    Objects all = {0};
    dl_iterate_phdr(found_object, &all);
    return all;
}

static PyObject *needed_by(const Object *o)
{
    PyObject *names = PyList_New(0);
    for (const ElfW(Dyn) *each = o->dynamic; names != NULL && each->d_tag != DT_NULL; each++)
        if (each->d_tag == DT_NEEDED) {
            PyObject *name = PyUnicode_DecodeFSDefault(o->strings + each->d_un.d_val);
            if (name == NULL || PyList_Append(names, name) < 0) Py_CLEAR(names);
            Py_XDECREF(name);
        }
    return names;
}

/* libc_objects(): [(path, address, own name, [names of those it needs])] of what is loaded. */
PyObject *libc_objects(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    Objects all = loaded();
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < all.count; i++) {
        const Object *o = &all.objects[i];
        PyObject *needed = needed_by(o);
        PyObject *path = needed == NULL ? NULL : PyUnicode_DecodeFSDefault(o->path);
        PyObject *row = path == NULL ? NULL
                                     : Py_BuildValue("(OKsO)", path, (unsigned long long)o->base,
                                                     o->name, needed);
        if (row == NULL || PyList_Append(list, row) < 0) Py_CLEAR(list);
        Py_XDECREF(row);
        Py_XDECREF(path);
        Py_XDECREF(needed);
    }
    PyMem_RawFree(all.objects);
    return list;
}

/* ---- slots ---------------------------------------------------------------------------------- */

typedef struct Written {
    struct Written *next;
    uintptr_t base, read_only, read_only_end;
    void **slot, *before, *hook;
} Written;
static Written *written;

static int store(const Written *w, void *value)
{
    uintptr_t size = (uintptr_t)sysconf(_SC_PAGESIZE);
    void *page = (void *)((uintptr_t)w->slot & ~(size - 1));
    int protected = (uintptr_t)w->slot >= w->read_only && (uintptr_t)w->slot < w->read_only_end;
    if (protected && mprotect(page, size, PROT_READ | PROT_WRITE) != 0) return -1;
    __atomic_store_n(w->slot, value, __ATOMIC_SEQ_CST);
    if (protected) mprotect(page, size, PROT_READ);
    return 0;
}

static int write_slot(const Object *o, void **slot, void *hook)
{
    Written *w = PyMem_RawMalloc(sizeof *w);
    if (w == NULL) return -1;
    *w = (Written){written, o->base, o->read_only, o->read_only_end, slot, *slot, hook};
    if (store(w, hook) < 0) {
        PyMem_RawFree(w);
        return 0;
    }
    written = w;
    return 1;
}

static int take_over(const Object *o, int which, PyObject *names)
{
    for (int t = 0; t < 2; t++)
        for (size_t i = 0; o->tables[t] != NULL && i < o->counts[t]; i++) {
            const ElfW(Rela) *r = &o->tables[t][i];
            unsigned type = ELF64_R_TYPE(r->r_info), number = ELF64_R_SYM(r->r_info);
            if ((type != JUMP_SLOT && type != GLOB_DAT && type != ABSOLUTE) || !number ||
                r->r_addend || o->symbols[number].st_shndx != SHN_UNDEF)
                continue;
            const char *name = o->strings + o->symbols[number].st_name;
            void *hook = libc_hook_of(name, which), **slot = (void **)(o->base + r->r_offset);
            if (hook == NULL || *slot == hook) continue;
            if (write_slot(o, slot, hook) <= 0) continue;
            PyObject *text = PyUnicode_FromString(name);
            if (text == NULL || PySet_Add(names, text) < 0) {
                Py_XDECREF(text);
                return -1;
            }
            Py_DECREF(text);
        }
    return 0;
}

/* libc_hook(address, which): the names of the functions whose calls by the object at this address
 * are taken over now; `which`: WAITS, and perhaps SYNCHRONISES. */
PyObject *libc_hook(PyObject *module, PyObject *args)
{
    (void)module;
    unsigned long long base;
    int which;
    if (!PyArg_ParseTuple(args, "Ki", &base, &which)) return NULL;
    Objects all = loaded();
    PyObject *names = PySet_New(NULL);
    for (size_t i = 0; names != NULL && i < all.count; i++)
        if (all.objects[i].base == base && take_over(&all.objects[i], which, names) < 0)
            Py_CLEAR(names);
    PyMem_RawFree(all.objects);
    return names;
}

/* libc_restore(): all slots hold what they held. */
PyObject *libc_restore(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    Objects all = loaded();
    while (written != NULL) {
        Written *w = written;
        written = w->next;
        for (size_t i = 0; i < all.count; i++)
            if (all.objects[i].base == w->base && *w->slot == w->hook) store(w, w->before);
        PyMem_RawFree(w);
    }
    PyMem_RawFree(all.objects);
    Py_RETURN_NONE;
}

#endif
