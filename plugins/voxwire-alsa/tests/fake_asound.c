/* A libasound.so.2 that pretends: one device, paced by the clock, with the faults that real ones have.
 *
 * FAKE_ALSA names the fault, FAKE_ALSA_HEARD a file that gets every frame at the moment when it is "heard". Everything
 * moves by whole periods, at their due times. Only what the plugin uses is here. */

#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { SETUP = 1, PREPARED = 2, RUNNING = 3, XRUN = 4, SUSPENDED = 7, DISCONNECTED = 8 };

typedef void (*handler_t)(const char *, int, const char *, int, const char *, va_list);
static __thread handler_t local_handler;

static struct {
    int state, format, timer;
    unsigned channels, rate;
    unsigned long period, buffer, threshold;
    unsigned long given, heard;      /* frames since the last prepare */
    unsigned long total;             /* frames since the beginning */
    double started;
    unsigned char *ring;
    unsigned starts, prepares, resumes, looks, tripped;
    FILE *file;
} dev;

static int fault(const char *name) {
    const char *set = getenv("FAKE_ALSA");
    return set != NULL && strcmp(set, name) == 0;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void complain(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (local_handler != NULL)
        local_handler("fake.c", 1, "fake_open", 0, format, arguments);
    else
        vfprintf(stderr, format, arguments);
    va_end(arguments);
}

static void hang(void) {
    for (;;)
        pause();
}

static unsigned frame_bytes(void) { return 2 * dev.channels; }

/* Lets the frames be heard that are due. */
static void move(void) {
    if (dev.state != RUNNING || dev.tripped)
        return;
    if (fault("standstill") && dev.starts == 1)
        return;
    unsigned long due = ((unsigned long)((now() - dev.started) * dev.rate) / dev.period + 1) * dev.period;
    unsigned long until = due < dev.given ? due : dev.given;
    while (dev.heard < until) {
        fwrite(dev.ring + dev.heard % dev.buffer * frame_bytes(), frame_bytes(), 1, dev.file);
        dev.heard++;
        dev.total++;
    }
    fflush(dev.file);
    if (due > dev.given + dev.period) {
        if (fault("no-xrun"))
            dev.tripped = 1; /* it plays nothing more before the next start, and does not tell */
        else
            dev.state = XRUN;
    }
}

static int start(void) {
    if (dev.state != PREPARED)
        return -EBADFD;
    dev.state = RUNNING;
    dev.started = now();
    dev.starts++;
    dev.tripped = 0;
    return 0;
}

static int trouble(void) {
    if (dev.state == XRUN)
        return -EPIPE;
    if (dev.state == SUSPENDED)
        return -ESTRPIPE;
    if (dev.state == DISCONNECTED)
        return -ENODEV;
    return 0;
}

int snd_pcm_open(void **pcm, const char *name, int stream, int mode) {
    (void)stream, (void)mode;
    if (fault("busy"))
        return -EBUSY;
    if (fault("denied"))
        return -EACCES;
    if (fault("hang"))
        hang();
    if (fault("unknown")) {
        complain("Unknown PCM %s, number %d", name, 42);
        return -ENOENT;
    }
    *pcm = &dev;
    dev.state = SETUP;
    dev.file = fopen(getenv("FAKE_ALSA_HEARD"), "wb");
    dev.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return 0;
}

int snd_pcm_close(void *pcm) {
    (void)pcm;
    move();
    fclose(dev.file);
    close(dev.timer);
    free(dev.ring);
    dev.ring = NULL;
    return 0;
}

int snd_pcm_hw_params_malloc(void **params) { return (*params = malloc(1)) ? 0 : -ENOMEM; }
void snd_pcm_hw_params_free(void *params) { free(params); }
int snd_pcm_hw_params_any(void *pcm, void *params) { return (void)pcm, (void)params, 0; }
int snd_pcm_hw_params_set_access(void *pcm, void *params, int access) {
    return (void)pcm, (void)params, access == 3 ? 0 : -EINVAL;
}
int snd_pcm_hw_params_set_format(void *pcm, void *params, int format) {
    (void)pcm, (void)params;
    return format == 2 ? (dev.format = format, 0) : -EINVAL;
}
int snd_pcm_hw_params_set_channels(void *pcm, void *params, unsigned channels) {
    (void)pcm, (void)params;
    return channels <= 2 ? (dev.channels = channels, 0) : -EINVAL;
}
int snd_pcm_hw_params_set_rate(void *pcm, void *params, unsigned rate, int direction) {
    (void)pcm, (void)params, (void)direction;
    return rate <= 48000 ? (dev.rate = rate, 0) : -EINVAL;
}
int snd_pcm_hw_params_set_period_size_near(void *pcm, void *params, unsigned long *period, int *direction) {
    (void)pcm, (void)params, *direction = 0, dev.period = *period;
    return 0;
}
int snd_pcm_hw_params_set_buffer_size_near(void *pcm, void *params, unsigned long *buffer) {
    (void)pcm, (void)params, dev.buffer = *buffer;
    return 0;
}
int snd_pcm_hw_params(void *pcm, void *params) {
    (void)pcm, (void)params;
    dev.ring = realloc(dev.ring, dev.buffer * frame_bytes());
    dev.threshold = dev.buffer;
    dev.state = PREPARED;
    long period_ns = 1000000000L * dev.period / dev.rate;
    struct itimerspec each = {{0, period_ns}, {0, period_ns}};
    timerfd_settime(dev.timer, 0, &each, NULL);
    return 0;
}
int snd_pcm_hw_params_get_format(const void *params, int *format) { return (void)params, *format = dev.format, 0; }
int snd_pcm_hw_params_get_channels(const void *params, unsigned *channels) {
    return (void)params, *channels = dev.channels, 0;
}
int snd_pcm_hw_params_get_rate(const void *params, unsigned *rate, int *direction) {
    (void)params, *direction = 0;
    *rate = fault("another-rate") ? 44100 : dev.rate;
    return 0;
}
int snd_pcm_hw_params_get_period_size(const void *params, unsigned long *period, int *direction) {
    return (void)params, *direction = 0, *period = dev.period, 0;
}
int snd_pcm_hw_params_get_buffer_size(const void *params, unsigned long *buffer) {
    return (void)params, *buffer = dev.buffer, 0;
}

int snd_pcm_sw_params_malloc(void **params) { return (*params = malloc(1)) ? 0 : -ENOMEM; }
void snd_pcm_sw_params_free(void *params) { free(params); }
int snd_pcm_sw_params_current(void *pcm, void *params) { return (void)pcm, (void)params, 0; }
int snd_pcm_sw_params_set_start_threshold(void *pcm, void *params, unsigned long frames) {
    (void)pcm, (void)params;
    dev.threshold = fault("no-threshold") ? -1UL : frames;
    return 0;
}
int snd_pcm_sw_params_set_avail_min(void *pcm, void *params, unsigned long frames) {
    return (void)pcm, (void)params, (void)frames, 0;
}
int snd_pcm_sw_params(void *pcm, void *params) { return (void)pcm, (void)params, 0; }

int snd_pcm_prepare(void *pcm) {
    (void)pcm;
    if (dev.state == DISCONNECTED)
        return -ENODEV;
    dev.given = dev.heard = 0;
    dev.tripped = 0;
    dev.prepares++;
    dev.state = PREPARED;
    return 0;
}

int snd_pcm_start(void *pcm) { return (void)pcm, start(); }

int snd_pcm_drop(void *pcm) {
    (void)pcm;
    if (fault("stuck"))
        hang();
    move();
    if (dev.state == DISCONNECTED)
        return -ENODEV;
    dev.state = SETUP;
    return 0;
}

int snd_pcm_resume(void *pcm) {
    (void)pcm;
    if (fault("suspend-for-good"))
        return -ENOSYS;
    if (++dev.resumes < 4)
        return -EAGAIN;
    dev.started = now() - (double)dev.heard / dev.rate;
    dev.state = RUNNING;
    return 0;
}

int snd_pcm_state(void *pcm) {
    (void)pcm;
    move();
    return dev.state;
}

long snd_pcm_avail(void *pcm) {
    (void)pcm;
    move();
    if (fault("unreadable") && dev.total > dev.rate / 10)
        return -EIO;
    int code = trouble();
    if (code < 0)
        return code;
    long avail = dev.buffer - (dev.given - dev.heard);
    /* A device whose numbers are not read at one moment: every other look is a period behind. */
    if (fault("backwards") && dev.state == RUNNING && dev.looks++ % 2 && avail >= (long)dev.period)
        avail -= dev.period;
    return avail;
}

int snd_pcm_delay(void *pcm, long *frames) {
    (void)pcm;
    if (fault("no-delay") || dev.state == XRUN)
        return -EIO;
    *frames = dev.given - dev.heard;
    if (fault("backwards"))
        *frames += (dev.looks % 3) * dev.period - dev.period;
    return 0;
}

long snd_pcm_writei(void *pcm, const void *data, unsigned long frames) {
    (void)pcm;
    move();
    if (fault("always-xrun"))
        dev.state = XRUN;
    if (fault("unplugged") && dev.total > dev.rate / 10)
        dev.state = DISCONNECTED;
    if ((fault("suspend") || fault("suspend-for-good")) && dev.total > dev.rate / 10 && dev.looks == 0) {
        dev.looks = 1;
        dev.state = SUSPENDED;
    }
    int code = trouble();
    if (code < 0)
        return code;
    unsigned long room = dev.buffer - (dev.given - dev.heard);
    if (room == 0)
        return -EAGAIN;
    unsigned long count = frames < room ? frames : room;
    for (unsigned long frame = 0; frame < count; frame++)
        memcpy(dev.ring + (dev.given + frame) % dev.buffer * frame_bytes(),
               (const char *)data + frame * frame_bytes(), frame_bytes());
    dev.given += count;
    if (dev.state == PREPARED && dev.given >= dev.threshold)
        start();
    return count;
}

int snd_pcm_poll_descriptors_count(void *pcm) { return (void)pcm, 1; }
int snd_pcm_poll_descriptors(void *pcm, struct pollfd *polled, unsigned space) {
    (void)pcm, (void)space;
    polled->fd = dev.timer;
    polled->events = fault("always-ready") ? POLLIN | POLLOUT : POLLIN;
    return 1;
}
int snd_pcm_poll_descriptors_revents(void *pcm, struct pollfd *polled, unsigned count, unsigned short *events) {
    (void)pcm, (void)polled, (void)count;
    uint64_t times;
    if (fault("always-ready"))
        return *events = POLLOUT, 0; /* the descriptor stays readable */
    if (read(dev.timer, &times, sizeof times) < 0)
        times = 0;
    move();
    *events = dev.buffer - (dev.given - dev.heard) >= dev.period ? POLLOUT : 0;
    return 0;
}

int snd_pcm_format_set_silence(int format, void *data, unsigned samples) {
    (void)format;
    memset(data, 0, 2 * (size_t)samples);
    return 0;
}

const char *snd_strerror(int code) { return strerror(code < 0 ? -code : code); }
handler_t snd_lib_error_set_local(handler_t handler) {
    handler_t before = local_handler;
    local_handler = handler;
    return before;
}
int snd_device_name_hint(int card, const char *interface, void ***hints) {
    (void)card, (void)interface;
    static void *none[] = {NULL};
    *hints = none;
    return 0;
}
char *snd_device_name_get_hint(const void *hint, const char *key) { return (void)hint, (void)key, NULL; }
int snd_device_name_free_hint(void **hints) { return (void)hints, 0; }
