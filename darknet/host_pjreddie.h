/* The pruning host on pjreddie Darknet, CPU: implements plugin/host.h. */
#ifndef DARKNET_HOST_PJREDDIE_H
#define DARKNET_HOST_PJREDDIE_H

#include "../plugin/host.h"

const struct prune_host *darknet_host(void);

#endif
