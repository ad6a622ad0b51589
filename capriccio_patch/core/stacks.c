/* The bottom of a green thread: its loop in C, and a small stack for its Python frames.
 *
 * Facts: CPython keeps the frames of a thread in chunks of 16 KiB, which it maps one by one, and
 * greenlet gives each greenlet chunks of its own.  A thread that waits uses some 1 KB of its first
 * chunk, and so keeps a page and the record of a mapping.  Where a frame does not fit, CPython maps
 * another chunk and unmaps it when the frame returns.
 *
 * Decision: the first chunk of a thread is ours, from malloc: of `SMALL` bytes, which is enough for
 * `threading` and two calls, and once many threads have needed more, of `MEDIUM` bytes for those that
 * start then.  Whatever frees it (CPython, greenlet) asks the allocator of arenas, where we know it
 * by its size.  Further chunks are CPython's; some are kept when they are given back, so that a call
 * at the end of a small chunk costs no system call.
 *
 * Cost: a thread that calls across the end of its first chunk again and again pays some 10 ns each
 * time; one that is deep has its 16 KiB in addition.
 *
 * 1. The loop does what `run_thread` of kernel/lifecycle.py does, on the kernel that it was made for.
 * 2. The allocator stays in place for the life of the process: others may have put theirs on top. */
#include "core.h"

#include "greenlets.h"

#define SMALL 896 /* no multiples of a page, so nobody else's */
#define MEDIUM 1504
#define CPYTHONS 16384
#define FEW 64
#define MOST_SPARE 64      /* kernel.lifecycle._SPARE */

static PyObject *s_spawn, *s_take_spare, *s_run_interrupt, *s_finish;
static PyObject *name_context, *no_kind, *never;
static int has_small_stacks;

/* ---- chunks ------------------------------------------------------------------------------------ */

static PyObjectArenaAllocator arenas; /* what was there before ours */
static size_t first_size = SMALL; /* of the chunks in `first` */
static void *first[FEW], *large[FEW];
static int n_first, n_large;
static size_t n_given, n_deep; /* first chunks: how many, and how many were too small */

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

/* A thread needs another chunk: if the first are too small for a few and one in eight, others get
 * larger ones.  CPython notes in a chunk how far it was used when it gets a successor. */
static inline void learn_size(void)
{
    if (LIKELY(first_size == MEDIUM || home->datastack_chunk == NULL ||
               home->datastack_chunk->size != SMALL || home->datastack_chunk->top != 0))
        return;
    if (++n_deep <= 4 + n_given / 8) return;
    first_size = MEDIUM;
    while (n_first) PyMem_RawFree(first[--n_first]);
}

static void *allocate(void *context, size_t size)
{
    (void)context;
    if (size == CPYTHONS && may_keep()) {
        learn_size();
        if (n_large) return large[--n_large];
    }
    return arenas.alloc(arenas.ctx, size);
}

static void release(void *context, void *chunk, size_t size)
{
    (void)context;
    if (UNLIKELY(size == SMALL || size == MEDIUM)) {
        if (size == first_size && n_first < FEW && may_keep())
            first[n_first++] = chunk;
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
    _PyStackChunk *chunk = n_first ? first[--n_first] : PyMem_RawMalloc(first_size);
    if (chunk == NULL) return; /* CPython maps one */
    n_given++;
    chunk->previous = NULL;
    chunk->size = first_size;
    chunk->top = 0;
    state->datastack_chunk = chunk;
    state->datastack_top = &chunk->data[1]; /* so that the frame that lies first does not free it */
    state->datastack_limit = (PyObject **)((char *)chunk + first_size);
}

/* ---- threads ------------------------------------------------------------------------------------ */

/* A new record, as Thread() makes it; `binding` compares the two. */
static PyObject *new_thread(void)
{
    PyObject *thread = T_thread->tp_alloc(T_thread, 0);
    if (thread == NULL) return NULL;
    static const Py_ssize_t *const nothing[] = {
        &t_greenlet, &t_deadline, &t_timer, &t_interrupt, &t_error, &t_on_exit,
        &t_object,   &t_c_state,  &t_trace, &t_run,
    };
    static const Py_ssize_t *const not_so[] = {&t_started, &t_parked, &t_timed_out, &t_by_interrupt};
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++)
        SLOT(thread, *nothing[i]) = Py_NewRef(Py_None);
    for (size_t i = 0; i < sizeof not_so / sizeof *not_so; i++)
        SLOT(thread, *not_so[i]) = Py_NewRef(Py_False);
    SLOT(thread, t_kind) = Py_NewRef(no_kind);
    SLOT(thread, t_since) = Py_NewRef(never);
    SLOT(thread, t_ident) = PyLong_FromUnsignedLongLong((uintptr_t)thread + 1);
    if (SLOT(thread, t_ident) == NULL) Py_CLEAR(thread);
    return thread;
}

/* A greenlet whose thread has ended and that nobody else knows; NULL, without an exception, if there
 * is none. */
static PyObject *take_spare(void)
{
    PyObject *spare = SLOT(K, k_spare);
    Py_ssize_t last = PyList_GET_SIZE(spare) - 1;
    if (last < 0) return NULL;
    PyGreenlet *found = (PyGreenlet *)PyList_GET_ITEM(spare, last);
    if (LIKELY(Py_REFCNT(found) == 1 && found->weakreflist == NULL &&
               (found->dict == NULL || PyDict_GET_SIZE(found->dict) == 0))) {
        Py_INCREF(found);
        if (PyList_SetSlice(spare, last, last + 1, NULL) == 0) return (PyObject *)found;
        Py_DECREF(found);
        return NULL;
    }
    PyObject *taken = PyObject_CallOneArg(s_take_spare, K);
    if (taken == Py_None) Py_CLEAR(taken);
    return taken;
}

static PyObject *spawn(PyObject *self, PyObject *run)
{
    if (UNLIKELY(self != K)) {
        PyObject *args[] = {self, run};
        return PyObject_Vectorcall(s_spawn, args, 2, NULL);
    }
    PyObject *thread = new_thread(), *spare = thread == NULL ? NULL : take_spare();
    if (thread == NULL || PyErr_Occurred() != NULL) goto failed;
    put_slot(thread, t_run, run);
    if (spare != NULL) {
        give_slot(thread, t_greenlet, spare);
        put_slot(thread, t_started, Py_True);
    } else {
        PyGreenlet *base = (PyGreenlet *)SLOT(K, k__base);
        PyGreenlet *made = PyGreenlet_New(SLOT(K, k__run_thread), base);
        if (made == NULL) goto failed;
        give_slot(thread, t_greenlet, (PyObject *)made);
    }
    if (PyDict_SetItem(SLOT(K, k_threads), SLOT(thread, t_ident), thread) < 0 || push(thread) < 0)
        goto failed;
    if (SLOT(K, k_wake_watchdog) != Py_None) {
        PyObject *wake = Py_NewRef(SLOT(K, k_wake_watchdog));
        int raised = call0(wake);
        Py_DECREF(wake);
        if (raised) goto failed;
    }
    return thread;
failed:
    Py_XDECREF(thread);
    return NULL;
}

/* `thread` has ended, on the kernel K with nothing left to Python. */
static int end(PyObject *thread)
{
    put_slot(thread, t_run, Py_None); /* what goes with it ends before the thread can be joined */
    if (SLOT(thread, t_on_exit) != Py_None) {
        PyObject *on_exit = SLOT(thread, t_on_exit);
        SLOT(thread, t_on_exit) = Py_NewRef(Py_None);
        int failed = call0(on_exit);
        Py_DECREF(on_exit);
        if (failed) return -1;
    }
    put_slot(SLOT(K, k_finalizer), f_host, thread);
    put_slot(K, k_current, SLOT(K, k_finalizer));
    if (PyDict_DelItem(SLOT(K, k_threads), SLOT(thread, t_ident)) < 0) PyErr_Clear(); /* a child's */
    put_slot(thread, t_greenlet, Py_None);
    return 0;
}

static int finish(PyObject *kernel, PyObject *thread)
{
    if (LIKELY(kernel == K && !has_c_state() && SLOT(thread, t_timer) == Py_None &&
               thread != SLOT(K, k_main)))
        return end(thread);
    return call2(s_finish, kernel, thread);
}

const Stand_in stacks_stand_ins[] = {
    {"spawn", spawn, METH_O, &s_spawn},
    {NULL, NULL, 0, NULL},
};

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

/* run(), which the thread holds until its end; without a frame of C's for a method. */
static inline PyObject *call_run(PyObject *run)
{
    if (UNLIKELY(!PyMethod_Check(run))) return PyObject_CallNoArgs(run);
    PyObject *args[] = {PyMethod_GET_SELF(run)};
    return PyObject_Vectorcall(PyMethod_GET_FUNCTION(run), args, 1, NULL);
}

static int run_current(PyObject *kernel)
{
    PyObject *thread = Py_NewRef(SLOT(kernel, k_current)), *result = NULL;
    if (LIKELY(SLOT(thread, t_interrupt) == Py_None) || call2(s_run_interrupt, kernel, thread) == 0)
        result = call_run(SLOT(thread, t_run));
    int failed = result == NULL ? report(kernel, thread) : 0;
    Py_XDECREF(result);
    if (!failed) failed = finish(kernel, thread);
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

/* Whether a record of ours is what `model`, made by Python, is; else SystemError. */
static int is_like(PyObject *model)
{
    PyObject *made = new_thread();
    if (made == NULL) return 0;
    int same = 1;
#define COMPARE(name) \
    if (&t_##name != &t_ident && same == 1) \
        same = SLOT(model, t_##name) == NULL \
                   ? 0 \
                   : PyObject_RichCompareBool(SLOT(made, t_##name), SLOT(model, t_##name), Py_EQ);
    THREAD_SLOTS(COMPARE)
    for (Py_ssize_t at = sizeof(PyObject); same == 1 && at < T_thread->tp_basicsize; at += sizeof at)
        same = (SLOT(made, at) == NULL) == (SLOT(model, at) == NULL); /* a slot that is new */
    Py_DECREF(made);
    if (same == 0) PyErr_SetString(PyExc_SystemError, "a Thread has other fields than are known");
    return same == 1;
}

int stacks_bind(PyObject *objects, PyObject *slow)
{
    PyObject *model = PyDict_GetItemString(objects, "thread"); /* borrowed */
    if (take(slow, "run_interrupt", &s_run_interrupt) < 0 || take(slow, "finish", &s_finish) < 0 ||
        take(slow, "take_spare", &s_take_spare) < 0)
        return -1;
    if (name_context == NULL && (name_context = PyUnicode_InternFromString("gr_context")) == NULL)
        return -1;
    if (no_kind == NULL && (no_kind = PyUnicode_InternFromString("")) == NULL) return -1;
    if (never == NULL && (never = PyFloat_FromDouble(0.0)) == NULL) return -1;
    if (import_greenlet() < 0 || !is_like(model)) return -1;
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
