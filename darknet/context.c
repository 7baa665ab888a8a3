/* The process context of the host side (context.h). Lives as long as the process; threads starts as the number of cores online. */
#include "context.h"

#include <unistd.h>

struct host_context *host_context(void)
{
    static struct host_context context;

    if (context.threads < 1) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        context.threads = cores > 1 ? (int)cores : 1;
    }
    return &context;
}
