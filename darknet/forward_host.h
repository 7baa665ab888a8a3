/* Handing a command line over to the installed Darknet. */
#ifndef DARKNET_FORWARD_HOST_H
#define DARKNET_FORWARD_HOST_H

/* Replaces this process by the stock darknet with the same arguments, so that its exit code and output are the user's. Returns only on failure, with
 * exit code 1 and a message on stderr: no such program, or it is this very program. */
int forward_to_host(char **argv);

#endif
