/* Whether the kernel's threads switch, for an OS thread that does not have the GIL. */
#ifndef CAPRICCIO_PULSE_H
#define CAPRICCIO_PULSE_H

#include "core.h"

#pragma GCC visibility push(hidden)

/* Written by the scheduler's OS thread alone, with the GIL. */
typedef struct {
    unsigned long moves;       /* switches and turns, ever */
    unsigned long turn;        /* `moves` at the last turn */
    unsigned long long began;  /* when that began, in nanoseconds of the kernel's clock */
    unsigned long waits;       /* 1 while it waits in a poll, else 0 */
} Pulse;
extern Pulse pulse;

#define PULSE_READ(field) __atomic_load_n(&pulse.field, __ATOMIC_RELAXED)
#define PULSE_WRITE(field, value) __atomic_store_n(&pulse.field, value, __ATOMIC_RELAXED)

static inline void note_switch(void) { PULSE_WRITE(moves, pulse.moves + 1); }
static inline void note_turn(double now)
{
    PULSE_WRITE(began, (unsigned long long)(now * 1e9));
    PULSE_WRITE(turn, pulse.moves + 1);
    PULSE_WRITE(moves, pulse.moves + 1);
}

#pragma GCC visibility pop

#endif
