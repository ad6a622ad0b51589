/* greenlet's C interface, for the files that switch and look at stacks. */
#ifndef CAPRICCIO_GREENLETS_H
#define CAPRICCIO_GREENLETS_H

#include "core.h"
#include "greenlet.h"

/* Once in a file, and so not in a forked child: a thread that it does not have may hold the lock of
 * that import. */
static inline int import_greenlet(void)
{
    if (_PyGreenlet_API == NULL) PyGreenlet_Import();
    return _PyGreenlet_API == NULL ? -1 : 0;
}

#endif
