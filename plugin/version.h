/* The version of `darknet prune`, printed by -version and written into its files' "program" entry. */
#ifndef PRUNE_VERSION_H
#define PRUNE_VERSION_H

#define PRUNE_VERSION "1.0.0"

#endif
