/* The shared objects of the process: which there are, what they need, and what they import.
 *
 * Facts.  The loader appends what it loads to its list, and counts what it adds and removes.  A slot
 * of an object is filled by a symbol of another one, as its relocations tell.
 *
 * Decision.  What is known is kept, and only what came behind it is looked at; when something has
 * been removed, all is looked at again.
 *
 * 1. The loader's lock is held while its list is walked; no Python runs then.
 * 2. An object that has been removed is not looked into: its memory is gone.
 *
 * With the global lock held. */
#include "libc_objects.h"

#ifdef HAS_LIBC_HOOKS
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { JUMP_SLOT = R_X86_64_JUMP_SLOT, GLOB_DAT = R_X86_64_GLOB_DAT, ABSOLUTE = R_X86_64_64 };
#else
enum { JUMP_SLOT = R_AARCH64_JUMP_SLOT, GLOB_DAT = R_AARCH64_GLOB_DAT, ABSOLUTE = R_AARCH64_ABS64 };
#endif

/* ---- which there are ------------------------------------------------------------------------- */

static struct {
    Object *objects; /* in the loader's order, but for those without symbols */
    size_t count, room;
    size_t passed; /* of the loader's list */
    unsigned long long adds, removals;
    int failed;
} known;

static void read_object(Object *o, const struct dl_phdr_info *info)
{
    memset(o, 0, sizeof *o);
    o->path = info->dlpi_name;
    o->base = info->dlpi_addr;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_DYNAMIC) o->dynamic = (void *)(o->base + part->p_vaddr);
        if (part->p_type == PT_TLS) o->has_thread_locals = part->p_memsz > 0;
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
        case DT_RELACOUNT: o->skip[1] = each->d_un.d_val; break;
        case DT_SONAME: name = each->d_un.d_val; break;
        }
    o->name = name && o->strings != NULL ? o->strings + name : "";
}

static int found_object(struct dl_phdr_info *info, size_t size, void *to)
{
    size_t *passed = to;
    (void)size;
    if (*passed == 0) {
        if (info->dlpi_adds == known.adds && info->dlpi_subs == known.removals) return 1;
        if (info->dlpi_subs != known.removals) known.count = known.passed = 0;
        known.adds = info->dlpi_adds;
        known.removals = info->dlpi_subs;
    }
    if ((*passed)++ < known.passed) return 0;
    if (known.count == known.room) {
        size_t room = known.room ? 2 * known.room : 128;
        Object *more = PyMem_RawRealloc(known.objects, room * sizeof *more);
        if (more == NULL) return known.failed = 1;
        known.objects = more;
        known.room = room;
    }
    Object *o = &known.objects[known.count];
    read_object(o, info);
    if (o->strings != NULL && o->symbols != NULL) known.count++; /* the vdso may have none */
    known.passed++;
    return 0;
}

static void refresh(void)
{
    size_t passed = 0;
    known.failed = 0;
    dl_iterate_phdr(found_object, &passed);
    if (known.failed) known.adds = 0; /* again, the next time */
}

const Object *object_at(uintptr_t base)
{
    refresh();
    for (size_t i = known.count; i-- > 0;)
        if (known.objects[i].base == base) return &known.objects[i];
    return NULL;
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

/* libc_objects(number, removals): (removals, [(path, address, own name, [names of those it needs])])
 * of what is loaded, but for the first `number` of them if nothing was removed since `removals`. */
PyObject *libc_objects(PyObject *module, PyObject *args)
{
    (void)module;
    Py_ssize_t number;
    unsigned long long removals;
    if (!PyArg_ParseTuple(args, "nK", &number, &removals)) return NULL;
    refresh();
    PyObject *list = PyList_New(0);
    size_t first = removals == known.removals ? (size_t)number : 0;
    for (size_t i = first; list != NULL && i < known.count; i++) {
        const Object *o = &known.objects[i];
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
    return list == NULL ? NULL : Py_BuildValue("(KN)", known.removals, list);
}

/* ---- what they import ------------------------------------------------------------------------- */

/* What an object's imports tell of it. */
enum {
    THREADS = 1,    /* it makes OS threads */
    CONDITIONS = 2, /* it waits for OS threads */
    FUTEXES = 4,    /* it may have locks of its own making */
    OWN_STATE = 8,  /* it keeps state by OS thread, or asks which one it is on */
    SEMAPHORES = 16,
    STACKS = 32, /* it has C stacks of its own */
    CALLS = 64,  /* it makes calls that may wait, or asks for Python's identity of the thread */
    SOCKETS = 128 /* of those some that wait for sockets, most likely */
};

typedef struct {
    const char *name; /* with a * at its end: its beginning */
    int trait;
} Sign;

static const Sign signs[] = {
    {"pthread_create", THREADS},
    {"thrd_create", THREADS},
    {"_ZNSt6thread15_M_start_thread*", THREADS},
    {"GOMP_parallel*", THREADS},
    {"__kmpc_fork_call", THREADS},
    {"_ZN3tbb*", THREADS},
    {"uv_thread_create*", THREADS},
    {"g_thread_*", THREADS},
    {"pthread_cond_wait", CONDITIONS},
    {"pthread_cond_timedwait", CONDITIONS},
    {"pthread_cond_clockwait", CONDITIONS},
    {"pthread_join", CONDITIONS},
    {"pthread_barrier_wait", CONDITIONS},
    {"cnd_wait", CONDITIONS},
    {"cnd_timedwait", CONDITIONS},
    {"_ZNSt18condition_variable4wait*", CONDITIONS},
    {"_ZNSt6thread4joinEv", CONDITIONS},
    {"syscall", FUTEXES},
    {"_ZNSt28__atomic_futex*", FUTEXES},
    {"pthread_setspecific", OWN_STATE},
    {"tss_set", OWN_STATE},
    {"__tls_get_addr", OWN_STATE},
    {"pthread_self", OWN_STATE},
    {"thrd_current", OWN_STATE},
    {"gettid", OWN_STATE},
    {"sem_wait", SEMAPHORES},
    {"sem_timedwait", SEMAPHORES},
    {"sem_clockwait", SEMAPHORES},
    {"swapcontext", STACKS},
    {"makecontext", STACKS},
    {"poll", SOCKETS},
    {"__poll_chk", SOCKETS},
    {"ppoll", SOCKETS},
    {"select", SOCKETS},
    {"epoll_wait", SOCKETS},
    {"epoll_pwait", SOCKETS},
    {"recv*", SOCKETS},
    {"connect", SOCKETS},
    {"accept*", SOCKETS},
};

/* Of the names that matter: which first three characters they have.  Few others have them. */
static unsigned char beginnings[1 + 4096 / 8];

static unsigned beginning_of(const char *name)
{
    unsigned hash = 0;
    for (int i = 0; i < 3 && name[i] != '\0'; i++) hash = hash * 31 + (unsigned char)name[i];
    return hash & 4095;
}

static void note_beginning(const char *name)
{
    unsigned hash = beginning_of(name);
    beginnings[1 + hash / 8] |= (unsigned char)(1 << hash % 8);
}

static void note_beginnings(void)
{
    beginnings[0] = 1;
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) note_beginning(signs[i].name);
    libc_each_hook(note_beginning);
}

static int may_be_known(const char *name)
{
    unsigned hash = beginning_of(name);
    return beginnings[1 + hash / 8] >> hash % 8 & 1;
}

int for_each_slot(const Object *o, Found found, void *to)
{
    int result = 0;
    if (!beginnings[0]) note_beginnings();
    for (int t = 0; t < 2; t++)
        for (size_t i = o->skip[t]; o->tables[t] != NULL && i < o->counts[t] && !result; i++) {
            const ElfW(Rela) *r = &o->tables[t][i];
            unsigned type = ELF64_R_TYPE(r->r_info), number = ELF64_R_SYM(r->r_info);
            if ((type != JUMP_SLOT && type != GLOB_DAT && type != ABSOLUTE) || !number ||
                r->r_addend || o->symbols[number].st_shndx != SHN_UNDEF)
                continue;
            const char *name = o->strings + o->symbols[number].st_name;
            if (!may_be_known(name)) continue;
            result = found(o, name, (void **)(o->base + r->r_offset), to);
        }
    return result;
}

static int is_sign(const Sign *sign, const char *name)
{
    size_t i = 0;
    while (sign->name[i] != '\0' && sign->name[i] == name[i]) i++;
    return sign->name[i] == name[i] || sign->name[i] == '*';
}

static int add_traits(const Object *o, const char *name, void **slot, void *to)
{
    (void)o, (void)slot;
    int *traits = to;
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (is_sign(&signs[i], name)) *traits |= signs[i].trait;
    if (libc_may_wait(name)) *traits |= CALLS;
    return 0;
}

/* libc_traits(address): what the imports of the object tell, as bits; see libraries/objects.py. */
PyObject *libc_traits(PyObject *module, PyObject *address)
{
    (void)module;
    unsigned long long base = PyLong_AsUnsignedLongLong(address);
    if (PyErr_Occurred()) return NULL;
    const Object *o = object_at(base);
    int traits = o != NULL && o->has_thread_locals ? OWN_STATE : 0;
    if (o != NULL) for_each_slot(o, add_traits, &traits);
    return PyLong_FromLong(traits);
}
#endif
