/* The host's libraries are opened when the first network is: libdarknet brings 250 others (OpenCV, Qt, GDAL ...), a fifth of a second of dynamic linking
 * that a rewrite of weights has no use for. The program is linked without them and with lazy binding: a call of a library function finds it, at the
 * first call, among the libraries opened here for all; so do the library's own calls find our kernels, which stand in the program and come first.
 * OpenBLAS is opened first, so that its cblas_sgemm comes before any other that libdarknet's libraries bring.
 * LAPACKE, which criteria on a host's signals use (plugin/score/matrix_rank.c), comes with them. */
#include "network_open.h"

#include <dlfcn.h>

/* The loader looks where the program says, or the user (LD_LIBRARY_PATH); under a sanitizer, which calls it in our place, nowhere: then by its path. */
static enum prune_code open_library(const char *name, const char *path, struct prune_status *st)
{
    if (dlopen(name, RTLD_LAZY | RTLD_GLOBAL) || (path && dlopen(path, RTLD_LAZY | RTLD_GLOBAL))) return PRUNE_OK;
    return prune_fail(st, "cannot load '%s': %s; install Darknet and OpenBLAS (make deps), or rebuild with DARKNET=dir", name, dlerror());
}

enum prune_code host_library_open(struct prune_status *st)
{
    if (dlsym(RTLD_DEFAULT, "parse_network_cfg")) return PRUNE_OK;   /* opened before, or linked, as in tests */
    enum prune_code rc = open_library("libopenblas.so.0", NULL, st);
    if (!rc) rc = open_library("liblapacke.so.3", NULL, st);
    if (!rc) rc = open_library("libdarknet.so", DARKNET_LIBRARY, st);
    return rc ? rc : host_layout_check(st);
}
