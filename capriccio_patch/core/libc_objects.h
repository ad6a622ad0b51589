/* The shared objects of the process, for libc_objects.c and libc_slots.c. */
#ifndef CAPRICCIO_LIBC_OBJECTS_H
#define CAPRICCIO_LIBC_OBJECTS_H

#include "libc_calls.h"

#ifdef HAS_LIBC_HOOKS
#include <link.h>
#include <stdint.h>

/* What of an object is asked for; its strings are its own. */
typedef struct {
    const char *path, *strings, *name;
    uintptr_t base;
    const ElfW(Dyn) *dynamic;
    const ElfW(Sym) *symbols;
    const ElfW(Rela) *tables[2];
    size_t counts[2], skip[2]; /* relocations, and how many at the beginning have no symbol */
    uintptr_t read_only, read_only_end;
    int has_thread_locals;
} Object;

/* The object at this address, if it is still loaded; else NULL.  Valid until the next call. */
const Object *object_at(uintptr_t base);

typedef int (*Found)(const Object *o, const char *name, void **slot, void *to);

/* Call `found` with each function or datum of other objects by whose address a slot of `o` is filled
 * and whose name may be known here (`may_be_known`), until it returns other than 0: the result. */
int for_each_slot(const Object *o, Found found, void *to);
#endif

#endif
