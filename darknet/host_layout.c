/* Start-up check: does the installed library lay out `layer` and `network` as the header we were compiled with? Its sizes cannot be asked for, so a
 * child process lets it parse a network of known shape and reads fields back, the first and the last of both structs and of the second layer. A
 * wrong layout may crash the child; the parent turns every outcome into one sentence. */
#include "network_open.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char CFG[] =
    "[net]\nbatch=6\nsubdivisions=2\nwidth=9\nheight=7\nchannels=2\nlearning_rate=0.25\nmomentum=0.5\ndecay=0.125\npolicy=constant\nmax_batches=7\nclip=3\n"
    "[convolutional]\nbatch_normalize=1\nfilters=5\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[convolutional]\nfilters=4\nsize=1\nstride=1\nactivation=linear\n";

/* Pointers are compared with NULL only: with a wrong layout they may be anything. */
static bool first_layer_fits(const layer *l)
{
    return l->type == CONVOLUTIONAL && l->activation == LEAKY && l->forward && l->backward && l->update && l->batch_normalize == 1 && l->batch == 3 && l->inputs == 126 &&
           l->outputs == 100 && l->nweights == 90 && l->nbiases == 5 && l->h == 7 && l->w == 9 && l->c == 2 && l->out_h == 4 && l->out_w == 5 && l->out_c == 5 &&
           l->n == 5 && l->groups == 1 && l->size == 3 && l->stride == 2 && l->pad == 1 && l->biases && l->scales && l->weights && l->weight_updates && l->delta &&
           l->output && l->mean && l->variance && l->rolling_mean && l->rolling_variance && l->x && l->x_norm && !l->wg && l->workspace_size == 1440;
}

static bool second_layer_fits(const layer *l)
{
    return l->type == CONVOLUTIONAL && l->activation == LINEAR && l->batch_normalize == 0 && l->batch == 3 && l->inputs == 100 && l->outputs == 80 && l->n == 4 &&
           l->size == 1 && l->biases && !l->scales && l->workspace_size == 400;
}

static bool layout_fits(void)
{
    const network *net = network_parse(CFG, sizeof CFG - 1, true);
    if (!net || net->n != 2 || net->batch != 3 || net->subdivisions != 2 || net->learning_rate != 0.25f || net->momentum != 0.5f || net->decay != 0.125f ||
        net->max_batches != 7 || net->h != 7 || net->w != 9 || net->c != 2 || net->inputs != 126 || net->outputs != 80 || net->clip != 3.0f || !net->seen ||
        !net->layers || !net->input || !net->cost || !net->workspace)
        return false;
    return first_layer_fits(&net->layers[0]) && second_layer_fits(&net->layers[1]);
}

static void child(void)
{
    int null = open("/dev/null", O_WRONLY);
    if (null >= 0) {
        dup2(null, 1);
        dup2(null, 2);
    }
    alarm(10);   /* a wrong layout may also loop */
    _exit(layout_fits() ? 0 : 1);
}

enum prune_code host_layout_check(struct prune_status *st)
{
    if (dlsym(RTLD_DEFAULT, "cuda_make_array"))
        return prune_fail(st, "the installed 'libdarknet.so' is built with GPU=1, this program for the CPU: their structs differ; build Darknet with GPU=0 or give "
                              "another one with DARKNET=dir");
    pid_t pid = fork();
    if (pid < 0) return prune_fail(st, "cannot start a process to check 'libdarknet.so': %s", strerror(errno));
    if (pid == 0) child();
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return prune_fail(st, "cannot wait for the check of 'libdarknet.so': %s", strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return PRUNE_OK;
    if (WIFSIGNALED(status))
        return prune_fail(st, "the installed 'libdarknet.so' does not fit the darknet.h this program was built with (signal %d while parsing a tiny network; layer %zu, "
                              "network %zu bytes expected); rebuild with its own header: DARKNET=dir", WTERMSIG(status), sizeof(layer), sizeof(network));
    return prune_fail(st, "the installed 'libdarknet.so' does not fit the darknet.h this program was built with (layer %zu, network %zu bytes expected); rebuild with its "
                          "own header: DARKNET=dir", sizeof(layer), sizeof(network));
}
