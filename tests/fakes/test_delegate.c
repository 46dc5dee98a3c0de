/* The test delegate: a real external TFLite delegate that computes on the CPU and fails on request.
 *
 * It takes FULLY_CONNECTED nodes of float32 or int8 with constant weights, and leaves the rest. It has
 * the two entry points that every external delegate has (tensorflow/lite/delegates/external/
 * external_delegate_interface.h). The structs below are TFLite's C ABI (tensorflow/lite/core/c/common.h
 * and builtin_op_data.h), which no wheel ships as headers; only what is used has a telling name.
 *
 * Options, all of them strings:
 *   device   present | absent (no delegate and no message, as libedgetpu answers) | broken (a message)
 *   fault    none | hang | segfault | abort | error | nan | wrong
 *   at       run | create | prepare: when the fault happens; nan and wrong are of `run` alone
 *   after    how many runs of the model go well before the fault
 *   trigger  a path: the fault is on only while it exists
 * Unknown options are refused with a message. test_delegate_runs() counts the runs in this process,
 * and test_delegate_alive() the delegates that were not destroyed.
 */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, ERROR = 1 };
enum { FULLY_CONNECTED = 9 };
enum { FLOAT32 = 1, INT32 = 2, INT8 = 9 };
enum { CONSTANT = 1 };           /* kTfLiteMmapRo */
enum { AFFINE = 1 };             /* kTfLiteAffineQuantization */
enum { LINEAR = 0, RELU = 1, RELU_N1_TO_1 = 2, RELU6 = 3 };

typedef struct { int size; int data[]; } IntArray;
typedef struct { int size; float data[]; } FloatArray;
typedef struct { FloatArray *scale; IntArray *zero_point; int32_t dimension; } Affine;

typedef struct {
    int type;
    void *data;
    IntArray *dims;
    struct { float scale; int32_t zero_point; } steps;
    int allocation_type;
    size_t bytes;
    const void *allocation;
    const char *name;
    void *delegate;
    int buffer_handle;
    bool data_is_stale, is_variable;
    struct { int type; Affine *affine; } quantization;
    void *sparsity;
    const IntArray *dims_signature;
} Tensor;

typedef struct Context Context;
typedef struct Delegate Delegate;

typedef struct {
    IntArray *inputs, *outputs, *intermediates, *temporaries;
    void *user_data;
    void *builtin_data;
    const void *custom_initial_data;
    int custom_initial_data_size;
    Delegate *delegate;
} Node;

typedef struct {
    void *(*init)(Context *, const char *, size_t);
    void (*free)(Context *, void *);
    int (*prepare)(Context *, Node *);
    int (*invoke)(Context *, Node *);
    const char *(*profiling_string)(const Context *, const Node *);
    int32_t builtin_code;
    const char *custom_name;
    int version;
    void *external, *async_kernel;
    uint64_t inplace_operator;
} Registration;

struct Context { /* the full interpreter leaves the later members, GetTensor among them, NULL */
    size_t tensors_size;
    int (*get_execution_plan)(Context *, IntArray **);
    Tensor *tensors;
    void *impl;
    int (*resize_tensor)(Context *, Tensor *, IntArray *);
    void (*report_error)(Context *, const char *, ...);
    int (*add_tensors)(Context *, int, int *);
    int (*get_node_and_registration)(Context *, int, Node **, Registration **);
    int (*replace_nodes)(Context *, Registration, const IntArray *, Delegate *);
};

struct Delegate {
    void *data;
    int (*prepare)(Context *, Delegate *);
    void *copy_from_buffer_handle, *copy_to_buffer_handle, *free_buffer_handle;
    int64_t flags;
    void *opaque_builder;
};

typedef struct { Delegate *delegate; IntArray *nodes, *inputs, *outputs; } Partition;
typedef struct { int activation, weights_format; bool keep_num_dims, asymmetric; int bias_type; } Dense;

_Static_assert(sizeof(void *) != 8 || sizeof(Tensor) == 112, "the ABI of 64-bit TFLite");

/* ---- the faults ---- */

typedef struct {
    char device[16], fault[16], at[16], trigger[1024];
    long after, runs;
    int kernels;
} Settings;

static long total_runs;
static int alive;

long test_delegate_runs(void) { return total_runs; }

int test_delegate_alive(void) { return alive; }

static bool is_on(const Settings *settings, const char *at, const char *fault) {
    return !strcmp(settings->fault, fault) && !strcmp(settings->at, at) && settings->runs >= settings->after &&
           (!settings->trigger[0] || !access(settings->trigger, F_OK));
}

/* Does not come back from a hang or a crash; returns ERROR where the fault is an error. */
static int misbehave(const Settings *settings, const char *at) {
    while (is_on(settings, at, "hang"))
        usleep(10000);
    if (is_on(settings, at, "segfault"))
        *(volatile int *)NULL = 1;
    if (is_on(settings, at, "abort"))
        abort();
    return is_on(settings, at, "error") ? ERROR : OK;
}

/* ---- the kernel: the layers of one partition, in order ---- */

typedef struct {
    int input, weights, bias, output; /* tensors; bias is -1 where there is none */
    int activation;
    void *buffer;       /* of the output, where it stays within the partition: the arena has none for it */
    const void *source; /* of the input, if an earlier layer of the partition makes it */
} Layer;

typedef struct {
    Settings *settings;
    int place; /* among the model's partitions: the last one counts the runs */
    int count;
    Layer layers[];
} Kernel;

static bool holds(const IntArray *array, int value) {
    for (int i = 0; i < array->size; i++)
        if (array->data[i] == value)
            return true;
    return false;
}

static void *kernel_init(Context *context, const char *argument, size_t length) {
    (void)length;
    const Partition *part = (const Partition *)argument;
    Kernel *kernel = calloc(1, sizeof *kernel + (size_t)part->nodes->size * sizeof(Layer));
    kernel->settings = part->delegate->data;
    kernel->place = kernel->settings->kernels++;
    kernel->count = part->nodes->size;
    for (int at = 0; at < kernel->count; at++) {
        Node *node;
        Registration *registration;
        context->get_node_and_registration(context, part->nodes->data[at], &node, &registration);
        Layer *layer = &kernel->layers[at];
        layer->input = node->inputs->data[0];
        layer->weights = node->inputs->data[1];
        layer->bias = node->inputs->size > 2 ? node->inputs->data[2] : -1;
        layer->output = node->outputs->data[0];
        layer->activation = ((const Dense *)node->builtin_data)->activation;
        if (!holds(part->outputs, layer->output))
            layer->buffer = malloc(context->tensors[layer->output].bytes);
        for (int earlier = 0; earlier < at; earlier++)
            if (kernel->layers[earlier].output == layer->input)
                layer->source = kernel->layers[earlier].buffer;
    }
    return kernel;
}

static void kernel_free(Context *context, void *data) {
    (void)context;
    Kernel *kernel = data;
    kernel->settings->kernels--;
    for (int at = 0; at < kernel->count; at++)
        free(kernel->layers[at].buffer);
    free(kernel);
}

static int kernel_prepare(Context *context, Node *node) {
    (void)context, (void)node;
    return OK;
}

static float activated(float value, int activation) {
    float low = activation == LINEAR ? -INFINITY : activation == RELU_N1_TO_1 ? -1 : 0;
    float high = activation == RELU6 ? 6 : activation == RELU_N1_TO_1 ? 1 : INFINITY;
    return fminf(fmaxf(value, low), high);
}

static void run_float(const float *x, const float *weights, const float *bias, float *y, int rows, int columns,
                      int activation) {
    for (int row = 0; row < rows; row++) {
        float sum = bias ? bias[row] : 0;
        for (int at = 0; at < columns; at++)
            sum += weights[row * columns + at] * x[at];
        y[row] = activated(sum, activation);
    }
}

static void run_int8(const Tensor *input, const Tensor *weights, const Tensor *output, const int8_t *x,
                     const int32_t *bias, int8_t *y, int activation) {
    int rows = weights->dims->data[0], columns = weights->dims->data[1];
    const FloatArray *scales = weights->quantization.affine->scale;
    const int8_t *w = weights->data;
    for (int row = 0; row < rows; row++) {
        int32_t sum = bias ? bias[row] : 0;
        for (int at = 0; at < columns; at++)
            sum += (x[at] - input->steps.zero_point) * w[row * columns + at];
        float scale = input->steps.scale * scales->data[scales->size > 1 ? row : 0];
        float value = activated((float)sum * scale, activation);
        float stored = rintf(value / output->steps.scale) + (float)output->steps.zero_point;
        y[row] = (int8_t)fminf(fmaxf(stored, -128), 127);
    }
}

static void run_layer(Context *context, const Layer *layer) {
    const Tensor *input = &context->tensors[layer->input], *weights = &context->tensors[layer->weights];
    const Tensor *output = &context->tensors[layer->output];
    const char *x = layer->source ? layer->source : input->data;
    char *y = layer->buffer ? layer->buffer : output->data;
    const void *bias = layer->bias < 0 ? NULL : context->tensors[layer->bias].data;
    size_t size = input->type == FLOAT32 ? sizeof(float) : 1;
    int rows = weights->dims->data[0], columns = weights->dims->data[1];
    size_t batches = input->bytes / size / (size_t)columns;
    for (size_t at = 0; at < batches; at++, x += (size_t)columns * size, y += (size_t)rows * size) {
        if (input->type == FLOAT32)
            run_float((const float *)x, weights->data, bias, (float *)y, rows, columns, layer->activation);
        else
            run_int8(input, weights, output, (const int8_t *)x, bias, (int8_t *)y, layer->activation);
    }
}

/* NaN, or what it is in int8, which has none: the highest value throughout. */
static void spoil_with_nan(const Tensor *output) {
    if (output->type != FLOAT32)
        memset(output->data, 127, output->bytes);
    else
        for (size_t at = 0; at < output->bytes / sizeof(float); at++)
            ((float *)output->data)[at] = NAN;
}

/* Turned end for end: every value is one that could be, and the answer is not the right one. */
static void spoil_with_order(const Tensor *output) {
    size_t size = output->type == FLOAT32 ? sizeof(float) : 1;
    char *low = output->data, *high = low + output->bytes - size, kept[sizeof(float)];
    for (; low < high; low += size, high -= size) {
        memcpy(kept, low, size);
        memcpy(low, high, size);
        memcpy(high, kept, size);
    }
}

static int kernel_invoke(Context *context, Node *node) {
    Kernel *kernel = node->user_data;
    if (misbehave(kernel->settings, "run") != OK) {
        context->report_error(context, "test delegate: the device reported an error\n");
        return ERROR;
    }
    for (int at = 0; at < kernel->count; at++)
        run_layer(context, &kernel->layers[at]);
    for (int at = 0; at < node->outputs->size; at++) {
        const Tensor *output = &context->tensors[node->outputs->data[at]];
        if (is_on(kernel->settings, "run", "nan"))
            spoil_with_nan(output);
        if (is_on(kernel->settings, "run", "wrong"))
            spoil_with_order(output);
    }
    if (kernel->place == kernel->settings->kernels - 1) {
        kernel->settings->runs++;
        total_runs++;
    }
    return OK;
}

/* ---- the delegate ---- */

static bool is_computable(const Context *context, const Node *node, const Registration *registration) {
    if (registration->builtin_code != FULLY_CONNECTED)
        return false;
    const Dense *dense = node->builtin_data;
    const Tensor *input = &context->tensors[node->inputs->data[0]];
    const Tensor *weights = &context->tensors[node->inputs->data[1]];
    bool plain = input->type == FLOAT32 || (input->type == INT8 && weights->quantization.type == AFFINE);
    int bias = node->inputs->size > 2 ? node->inputs->data[2] : -1;
    bool biased = bias < 0 || context->tensors[bias].type == (input->type == FLOAT32 ? FLOAT32 : INT32);
    return plain && biased && weights->type == input->type && weights->allocation_type == CONSTANT &&
           dense->activation <= RELU6 && !dense->weights_format;
}

static int delegate_prepare(Context *context, Delegate *delegate) {
    if (misbehave(delegate->data, "prepare") != OK) {
        context->report_error(context, "test delegate: the device refused the graph\n");
        return ERROR;
    }
    IntArray *plan;
    if (context->get_execution_plan(context, &plan) != OK)
        return ERROR;
    IntArray *taken = malloc(sizeof *taken + (size_t)plan->size * sizeof(int));
    taken->size = 0;
    for (int at = 0; at < plan->size; at++) {
        Node *node;
        Registration *registration;
        if (context->get_node_and_registration(context, plan->data[at], &node, &registration) != OK)
            continue;
        if (is_computable(context, node, registration))
            taken->data[taken->size++] = plan->data[at];
    }
    Registration kernel = {.init = kernel_init,
                           .free = kernel_free,
                           .prepare = kernel_prepare,
                           .invoke = kernel_invoke,
                           .custom_name = "TestDelegate",
                           .version = 1};
    int status = context->replace_nodes(context, kernel, taken, delegate);
    free(taken);
    return status;
}

static bool set(Settings *settings, const char *key, const char *value) {
    struct { const char *key; char *text; size_t size; } texts[] = {
        {"device", settings->device, sizeof settings->device},
        {"fault", settings->fault, sizeof settings->fault},
        {"at", settings->at, sizeof settings->at},
        {"trigger", settings->trigger, sizeof settings->trigger},
    };
    for (size_t at = 0; at < sizeof texts / sizeof *texts; at++)
        if (!strcmp(key, texts[at].key))
            return snprintf(texts[at].text, texts[at].size, "%s", value) < (int)texts[at].size;
    settings->after = atol(value);
    return !strcmp(key, "after");
}

void tflite_plugin_destroy_delegate(Delegate *delegate) {
    if (!delegate) /* Python destroys what was never made */
        return;
    free(delegate->data);
    free(delegate);
    alive--;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
    Settings *settings = calloc(1, sizeof *settings);
    *settings = (Settings){.device = "present", .fault = "none", .at = "run"};
    Delegate *delegate = calloc(1, sizeof *delegate);
    *delegate = (Delegate){.data = settings, .prepare = delegate_prepare};
    alive++;
    const char *refusal = NULL;
    for (size_t at = 0; at < count; at++)
        if (!set(settings, keys[at], values[at]))
            refusal = "test delegate: unknown option, or its value is too long";
    if (!refusal && !strcmp(settings->device, "broken"))
        refusal = "test delegate: the device does not answer";
    if (!refusal && misbehave(settings, "create") != OK)
        refusal = "test delegate: the device reported an error";
    if (refusal && report)
        report(refusal);
    if (refusal || !strcmp(settings->device, "absent")) {
        tflite_plugin_destroy_delegate(delegate);
        return NULL;
    }
    return delegate;
}
