/* The bottom of a green thread: its loop in C, and a small stack for its Python frames.
 *
 * Facts: CPython keeps the frames of a thread in chunks of 16 KiB, which it maps one by one, and
 * greenlet gives each greenlet chunks of its own.  A thread that waits uses some 1 KB of its first
 * chunk, and so keeps a page and the record of a mapping.  Where a frame does not fit, CPython maps
 * another chunk and unmaps it when the frame returns.
 *
 * Decision: the first chunk of a thread is ours, of `CHUNK` bytes, from malloc.  Whatever frees it
 * (CPython, greenlet) asks the allocator of arenas, where we know it by its size.  Further chunks
 * are CPython's; some are kept when they are given back, so that a call at the end of a small chunk
 * costs no system call.
 *
 * Cost: a thread that calls across the end of its first chunk again and again pays some 10 ns each
 * time; one that is deep has its 16 KiB in addition.
 *
 * 1. The loop does what `run_thread` of kernel/lifecycle.py does, on the kernel that it was made for.
 * 2. The allocator stays in place for the life of the process: others may have put theirs on top. */
#include "core.h"

#include "greenlet.h"

#define CHUNK 1504         /* no multiple of a page, so nobody else's */
#define CPYTHONS 16384
#define FEW 64
#define MOST_SPARE 64      /* kernel.lifecycle._SPARE */

static Py_ssize_t k__run_thread, k_report;
static PyObject *s_run_interrupt, *s_finish, *name_context;
static int has_small_stacks;

/* ---- chunks ------------------------------------------------------------------------------------ */

static PyObjectArenaAllocator arenas; /* what was there before ours */
static void *small[FEW], *large[FEW];
static int n_small, n_large;

/* Whether the lists are ours to use: other interpreters may allocate at the same time. */
static inline int may_keep(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyThreadState *now = PyThreadState_GetUnchecked();
#else
    PyThreadState *now = _PyThreadState_UncheckedGet();
#endif
    return now != NULL && now == home;
}

static void *allocate(void *context, size_t size)
{
    (void)context;
    if (size == CPYTHONS && n_large && may_keep()) return large[--n_large];
    return arenas.alloc(arenas.ctx, size);
}

static void release(void *context, void *chunk, size_t size)
{
    (void)context;
    if (UNLIKELY(size == CHUNK)) {
        if (n_small < FEW && may_keep())
            small[n_small++] = chunk;
        else
            PyMem_RawFree(chunk);
    } else if (size == CPYTHONS && n_large < FEW && may_keep())
        large[n_large++] = chunk;
    else
        arenas.free(arenas.ctx, chunk, size);
}

/* Whether PyThreadState has its chunk where the header says, and chunks look as they do there. */
static int is_known(PyThreadState *state)
{
    _PyStackChunk *chunk = state->datastack_chunk;
    return chunk != NULL && chunk->size % CPYTHONS == 0 &&
           (char *)state->datastack_limit == (char *)chunk + chunk->size &&
           state->datastack_top > chunk->data && state->datastack_top <= state->datastack_limit;
}

/* The calling greenlet, which has run no Python yet, gets a small first chunk. */
static void take_stack(void)
{
    PyThreadState *state = PyThreadState_GET();
    if (!has_small_stacks || state->datastack_chunk != NULL) return;
    _PyStackChunk *chunk = n_small ? small[--n_small] : PyMem_RawMalloc(CHUNK);
    if (chunk == NULL) return; /* CPython maps one */
    chunk->previous = NULL;
    chunk->size = CHUNK;
    chunk->top = 0;
    state->datastack_chunk = chunk;
    state->datastack_top = &chunk->data[1]; /* so that the frame that lies first does not free it */
    state->datastack_limit = (PyObject **)((char *)chunk + CHUNK);
}

/* ---- the loop ---------------------------------------------------------------------------------- */

/* `thread` has raised: tell of it, while it is the exception that is handled. */
static __attribute__((noinline)) int report(PyObject *kernel, PyObject *thread)
{
    PyObject *tell = SLOT(kernel, k_report);
    if (PyErr_ExceptionMatches(PyExc_SystemExit) || tell == Py_None) {
        PyErr_Clear();
        return 0;
    }
    PyObject *kind, *error, *trace;
    PyErr_Fetch(&kind, &error, &trace);
    PyErr_NormalizeException(&kind, &error, &trace);
    if (trace != NULL) PyException_SetTraceback(error, trace);
    PyErr_SetHandledException(error);
    Py_XDECREF(kind);
    Py_XDECREF(error);
    Py_XDECREF(trace);
    int failed = call1(tell, thread);
    PyErr_SetHandledException(NULL);
    return failed;
}

static int run_current(PyObject *kernel)
{
    PyObject *thread = Py_NewRef(SLOT(kernel, k_current)), *result = NULL;
    if (LIKELY(SLOT(thread, t_interrupt) == Py_None) || call2(s_run_interrupt, kernel, thread) == 0)
        result = PyObject_CallNoArgs(SLOT(thread, t_run)); /* it is the thread's until the end */
    int failed = result == NULL ? report(kernel, thread) : 0;
    Py_XDECREF(result);
    if (!failed) failed = call2(s_finish, kernel, thread);
    Py_DECREF(thread);
    return failed;
}

/* The greenlet is spare from its switch on, until it is given another thread. */
static int wait_for_another(PyObject *kernel)
{
    PyObject *me = (PyObject *)PyGreenlet_GetCurrent();
    if (me == NULL) return -1;
    if (PyObject_SetAttr(me, name_context, Py_None) < 0) { /* a thread's context is its own */
        Py_DECREF(me);
        return -1;
    }
    give_slot(kernel, k__ended, me);
    while (SLOT(kernel, k__chosen) == Py_None) { /* it is not, unless a finalizer comes and waits */
        PyObject *base = SLOT(kernel, k__base);
        if (done(PyGreenlet_Switch((PyGreenlet *)base, NULL, NULL)) < 0) return -1;
    }
    put_slot(kernel, k_current, SLOT(kernel, k__chosen));
    put_slot(kernel, k__chosen, Py_None);
    return 0;
}

static PyObject *run_thread(PyObject *kernel, PyObject *ignored)
{
    (void)ignored;
    take_stack();
    do {
        if (run_current(kernel) < 0) return NULL;
        if (PyList_GET_SIZE(SLOT(kernel, k_spare)) >= MOST_SPARE) Py_RETURN_NONE;
    } while (wait_for_another(kernel) == 0);
    return NULL;
}

static PyMethodDef loop = {"run_thread", run_thread, METH_NOARGS, NULL};

/* ---- binding ----------------------------------------------------------------------------------- */

int stacks_bind(PyObject *objects, PyObject *slow)
{
    (void)objects;
    PyObject *cls = (PyObject *)Py_TYPE(K);
    if (take(slow, "run_interrupt", &s_run_interrupt) < 0 || take(slow, "finish", &s_finish) < 0 ||
        offset_of(cls, "_run_thread", &k__run_thread) < 0 || offset_of(cls, "report", &k_report) < 0)
        return -1;
    if (name_context == NULL && (name_context = PyUnicode_InternFromString("gr_context")) == NULL)
        return -1;
    PyGreenlet_Import();
    if (_PyGreenlet_API == NULL) return -1;
    if (!has_small_stacks && is_known(home)) {
        PyObjectArenaAllocator ours = {NULL, allocate, release};
        PyObject_GetArenaAllocator(&arenas);
        PyObject_SetArenaAllocator(&ours);
        has_small_stacks = 1;
    }
    PyObject *made = PyCFunction_New(&loop, K);
    if (made == NULL) return -1;
    give_slot(K, k__run_thread, made);
    return 0;
}
