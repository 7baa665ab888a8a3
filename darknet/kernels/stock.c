/* Access to the library's own functions behind our replacements: the next definition in link order after the executable's. */
#include "stock.h"

#include <dlfcn.h>

static void *next(const char *name)
{
    void *p = dlsym(RTLD_NEXT, name);

    if (!p) {
        fprintf(stderr, "kernels: the installed libdarknet has no '%s'\n", name);
        exit(1);
    }
    return p;
}

void stock_layer_call(const char *name, layer l, network net)
{
    void (*fn)(layer, network);
    void *p = next(name);

    memcpy(&fn, &p, sizeof fn);   /* ISO C has no cast between object and function pointers */
    fn(l, net);
}

void stock_update_call(const char *name, layer l, update_args a)
{
    void (*fn)(layer, update_args);
    void *p = next(name);

    memcpy(&fn, &p, sizeof fn);
    fn(l, a);
}
