/* Fuzzer of the weights reader: the input is a weights file, read against small cfgs of every stored kind, whole and as a prefix. The
 * file lives in memory (memfd), so that thousands of inputs a second pass through the real open, map and close. */
#undef NDEBUG
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../plugin/model/weights_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NET "[net]\nheight=8\nwidth=8\nchannels=3\n"
static const char *const cfgs[] = {
    NET "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\n[avgpool]\n[connected]\noutput=2\n[softmax]\n",
    NET "[batchnorm]\n[local]\nfilters=1\nsize=8\n[rnn]\noutput=2\n",
    NET "[conv]\nfilters=1\ndontload=1\n[conv]\nfilters=3\nnumload=1\n[conv]\nfilters=1\nbatch_normalize=1\ndontloadscales=1\n",
    NET "[avgpool]\n[lstm]\noutput=1\n[gru]\noutput=1\n",
};

static void check_open(const struct prune_weights *w)
{
    assert(w->header.size == 16 || w->header.size == 20);
    assert(w->map.size == w->header.size + 4 * w->layout.floats);
    double sum = 0; /* touch every byte of every view */
    for (size_t i = 0; i < w->layout.count; i++) {
        const float *x = prune_weights_data(w, &w->layout.tensors[i]);
        for (size_t j = 0; j < w->layout.tensors[i].count; j++) sum += (double)x[j];
    }
    struct prune_status st;
    if (!prune_weights_check_finite(w, &st)) assert(sum == sum);
}

static void read_against(const char *text, const char *path)
{
    struct prune_cfg cfg;
    struct prune_net net;
    struct prune_weights w;
    struct prune_status st;
    size_t layers = 0;
    assert(!prune_cfg_parse(&cfg, "fuzz.cfg", text, strlen(text), &st));
    assert(!prune_net_build(&net, &cfg, &st));
    int whole = !prune_weights_open(&w, path, &net, &st);
    if (whole) {
        check_open(&w);
        prune_weights_close(&w);
    }
    if (!prune_weights_open_prefix(&w, path, &net, &layers, &st)) {
        assert((layers == net.layer_count) == whole);
        check_open(&w);
        prune_weights_close(&w);
    } else assert(!whole);
    prune_net_free(&net);
    prune_cfg_free(&cfg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    int fd = memfd_create("weights", MFD_CLOEXEC);
    assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    for (size_t i = 0; i < sizeof cfgs / sizeof *cfgs; i++) read_against(cfgs[i], path);
    close(fd);
    return 0;
}
