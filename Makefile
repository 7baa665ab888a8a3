# darknet prune: see README.md. Knobs: DARKNET= GPU= CUDNN= DEBUG= SAN= PREFIX=
DARKNET ?=
BUILD ?= build
CC ?= gcc
ifneq ($(DARKNET),)
DARKNET_INC := $(DARKNET)/include
DARKNET_LIB := $(DARKNET)
else
DARKNET_INC := /usr/lib/darknet/include
DARKNET_LIB := /usr/lib/darknet
endif
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
OPT := -O2 -g
CFLAGS += -std=c11 -D_GNU_SOURCE $(WARN) $(OPT) $(SAN) -MMD -MP -pthread
HOST_CFLAGS := -isystem $(DARKNET_INC)
PLUGIN_LIBS := -lcjson -lxxhash -lm
HOST_LIBS := -L$(DARKNET_LIB) -Wl,-rpath,$(DARKNET_LIB) -ldarknet -lopenblas -lpthread

PLUGIN_SRC := $(wildcard plugin/*/*.c plugin/*.c)
HOST_SRC := $(filter-out darknet/main.c,$(wildcard darknet/*.c darknet/kernels/*.c))
PLUGIN_OBJ := $(PLUGIN_SRC:%.c=$(BUILD)/%.o)
HOST_OBJ := $(HOST_SRC:%.c=$(BUILD)/%.o)

all: bin/darknet
bin/darknet: $(BUILD)/darknet/main.o $(HOST_OBJ) $(BUILD)/libprune.a
	@mkdir -p bin
	$(CC) $(CFLAGS) -rdynamic -o $@ $(BUILD)/darknet/main.o $(HOST_OBJ) $(BUILD)/libprune.a $(PLUGIN_LIBS) $(HOST_LIBS)
$(BUILD)/libprune.a: $(PLUGIN_OBJ)
	rm -f $@ && ar rcs $@ $^
$(BUILD)/plugin/%.o: plugin/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<
$(BUILD)/darknet/%.o: darknet/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(HOST_CFLAGS) -c -o $@ $<
-include $(PLUGIN_OBJ:.o=.d) $(HOST_OBJ:.o=.d)
