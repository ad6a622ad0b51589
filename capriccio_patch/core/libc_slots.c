/* Where a shared object's calls of libc functions go: pointed at the hooks, and put back.
 *
 * Facts.  A shared object calls a function of another one through a slot of its own, which the
 * dynamic linker has filled in or fills in at the first call (libc_objects.c).
 *
 * Decision.  The slot is written.  Nobody else is concerned: not the other objects of the process,
 * not libc, not what Python's own modules call.
 *
 * Cost.  0.02 to 0.3 ms for each object that is taken over, none for the others.
 *
 * 1. A slot that lies in a page which the linker has made read-only is made writable for the store.
 * 2. What was in a slot is never called: where the linker binds late it is the linker's own code,
 *    which would overwrite the hook.  The hooks call the functions by their names, and those of C++
 *    as the linker finds them (libc_mutexes.c).
 * 3. A slot is put back only if it still holds the hook and its object is still loaded.
 * 4. The code of the hooks stays mapped for ever: other OS threads may be in it at any time.
 *
 * With the global lock held. */
#include "libc_objects.h"

#ifdef HAS_LIBC_HOOKS
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

typedef struct {
    int which;
    PyObject *names;
} Taking;

static int take_over(const Object *o, const char *name, void **slot, void *to)
{
    const Taking *taking = to;
    void *hook = libc_hook_of(name, taking->which);
    if (hook == NULL || *slot == hook) return 0;
    if (strncmp(name, "__cxa_guard_", 12) == 0 && !has_known_guards(o->path)) return 0;
    if (write_slot(o, slot, hook) <= 0) return 0;
    PyObject *text = PyUnicode_FromString(name);
    int failed = text == NULL || PySet_Add(taking->names, text) < 0;
    Py_XDECREF(text);
    return failed;
}

/* libc_hook(address, which): the names of the functions whose calls by the object at this address
 * are taken over now; `which`: bits, see libc_calls.h. */
PyObject *libc_hook(PyObject *module, PyObject *args)
{
    (void)module;
    unsigned long long base;
    Taking taking;
    if (!PyArg_ParseTuple(args, "Ki", &base, &taking.which)) return NULL;
    if ((taking.names = PySet_New(NULL)) == NULL) return NULL;
    const Object *o = object_at(base);
    if (o != NULL && for_each_slot(o, take_over, &taking)) Py_CLEAR(taking.names);
    return taking.names;
}

/* libc_restore(): all slots hold what they held. */
PyObject *libc_restore(PyObject *module, PyObject *ignored)
{
    (void)module, (void)ignored;
    while (written != NULL) {
        Written *w = written;
        written = w->next;
        if (object_at(w->base) != NULL && *w->slot == w->hook) store(w, w->before);
        PyMem_RawFree(w);
    }
    Py_RETURN_NONE;
}

#endif
