/* The programs of a grid, run by the calling thread and by one pool of threads that sleep when there is nothing to do.
 *
 * A launch is a job on its caller's stack. Threads claim runs of consecutive programs from its counter, the caller
 * among them; the caller returns when every thread that joined has left. Several callers may have jobs at one time.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

typedef int program_t(int x, int y, int z, int gx, int gy, int gz, const void *args, char *arena);

/* A kernel, ready to be launched; what a program took the last time is kept here. Zero: not known. */
typedef struct {
    program_t *program;
    size_t arena_bytes;
    _Atomic int64_t program_ns;
} kernel;

typedef struct job {
    const kernel *kernel;
    int gx, gy, gz;
    const void *args;
    int64_t programs, run;
    _Atomic int64_t next;
    _Atomic int result;
    int wanted, joined;
    struct job *following;
    pthread_cond_t left;
} job;

enum { NO_MEMORY = -1, TOO_MANY = -2 };
enum { STACK_BYTES = 4 << 20, ALIGNMENT = 64, RUNS_PER_THREAD = 8, MAX_THREADS = 1024 };
/* Waking a thread takes some 10 us: a grid that one thread finishes sooner is left to the caller. */
enum { WORTH_WAKING_NS = 20000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static job *jobs;
static int workers;

/* A thread's tile storage: grown on demand, given back when the thread ends. */
typedef struct {
    char *base;
    size_t bytes;
} arena;

static pthread_key_t arena_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void free_arena(void *value) {
    free(((arena *)value)->base);
    free(value);
}

static char *arena_of(size_t bytes) {
    arena *mine = pthread_getspecific(arena_key);
    if (mine == NULL) {
        mine = calloc(1, sizeof *mine);
        if (mine == NULL || pthread_setspecific(arena_key, mine) != 0) {
            free(mine);
            return NULL;
        }
    }
    if (mine->bytes < bytes || mine->base == NULL) {
        size_t rounded = (bytes / ALIGNMENT + 1) * ALIGNMENT;
        free(mine->base);
        mine->base = aligned_alloc(ALIGNMENT, rounded);
        mine->bytes = mine->base == NULL ? 0 : rounded;
    }
    return mine->base;
}

static int run_program(const job *j, int64_t index, char *tiles) {
    int64_t row = index / j->gx;
    int x = (int)(index % j->gx), y = (int)(row % j->gy), z = (int)(row / j->gy);
    return j->kernel->program(x, y, z, j->gx, j->gy, j->gz, j->args, tiles);
}

/* Claims programs until there are none left; the first failure stops further claims. Returns how many it ran. */
static int64_t take_part(job *j) {
    char *tiles = arena_of(j->kernel->arena_bytes);
    int failed = tiles == NULL ? NO_MEMORY : 0;
    int64_t ran = 0;
    while (!failed) {
        int64_t first = atomic_fetch_add_explicit(&j->next, j->run, memory_order_relaxed);
        if (first >= j->programs)
            return ran;
        int64_t end = j->programs - first < j->run ? j->programs : first + j->run;
        for (int64_t index = first; index < end && !failed; index++, ran++)
            failed = run_program(j, index, tiles);
    }
    int none = 0;
    atomic_compare_exchange_strong(&j->result, &none, failed);
    atomic_store(&j->next, j->programs);
    return ran;
}

static void *worker(void *unused) {
    pthread_mutex_lock(&lock);
    for (;;) {
        job *j = jobs;
        while (j != NULL && j->wanted == 0)
            j = j->following;
        if (j == NULL) {
            pthread_cond_wait(&work, &lock);
            continue;
        }
        j->wanted--;
        j->joined++;
        pthread_mutex_unlock(&lock);
        take_part(j);
        pthread_mutex_lock(&lock);
        if (--j->joined == 0)
            pthread_cond_signal(&j->left);
    }
    return unused;
}

/* Called with the lock held. A thread that cannot be had is done without. Signals stay with Python's threads. */
static void hire(int count) {
    pthread_attr_t attributes;
    sigset_t all, before;
    if (workers >= count || pthread_attr_init(&attributes) != 0)
        return;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    while (workers < count && pthread_create(&thread, &attributes, worker, NULL) == 0)
        workers++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

static void before_fork(void) { pthread_mutex_lock(&lock); }

static void after_fork_in_parent(void) { pthread_mutex_unlock(&lock); }

/* Only the forking thread lives on in the child: no workers, and no jobs, whose callers are gone. */
static void after_fork_in_child(void) {
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&work, NULL);
    jobs = NULL;
    workers = 0;
}

static void set_up(void) {
    pthread_key_create(&arena_key, free_arena);
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Offers the job to `helpers` threads of the pool, takes part in it, and waits until all have left. */
static int64_t run_together(job *j, int helpers) {
    j->wanted = helpers;
    pthread_cond_init(&j->left, NULL);
    pthread_mutex_lock(&lock);
    hire(helpers);
    j->following = jobs;
    jobs = j;
    for (int i = 0; i < helpers; i++)
        pthread_cond_signal(&work);
    pthread_mutex_unlock(&lock);

    int64_t ran = take_part(j);

    pthread_mutex_lock(&lock);
    job **link = &jobs;
    while (*link != j)
        link = &(*link)->following;
    *link = j->following;
    while (j->joined > 0)
        pthread_cond_wait(&j->left, &lock);
    pthread_mutex_unlock(&lock);
    pthread_cond_destroy(&j->left);
    return ran;
}

/* Runs the kernel's program for every x < gx, y < gy, z < gz on at most `threads` threads, the caller's included.
 * Returns 0, 1 + the index of an assertion that failed, NO_MEMORY, or TOO_MANY for a size beyond an int. */
int tn_run(kernel *k, int threads, int64_t gx, int64_t gy, int64_t gz, const void *args) {
    if (gx > INT_MAX || gy > INT_MAX || gz > INT_MAX || gx * gy > INT64_MAX / gz)
        return TOO_MANY;
    pthread_once(&once, set_up);
    job j = {.kernel = k, .gx = (int)gx, .gy = (int)gy, .gz = (int)gz, .args = args, .programs = gx * gy * gz};
    int64_t helpers = (threads > MAX_THREADS ? MAX_THREADS : threads) - 1;
    if (helpers > j.programs - 1)
        helpers = j.programs - 1;
    int64_t started = now_ns(), program_ns = atomic_load_explicit(&k->program_ns, memory_order_relaxed);
    if (program_ns > 0 && program_ns * j.programs < WORTH_WAKING_NS)
        helpers = 0;
    j.run = helpers > 0 ? j.programs / ((helpers + 1) * RUNS_PER_THREAD) : j.programs;
    j.run = j.run < 1 ? 1 : j.run;
    int64_t ran = helpers > 0 ? run_together(&j, (int)helpers) : take_part(&j);
    if (ran > 0)
        atomic_store_explicit(&k->program_ns, (now_ns() - started) / ran + 1, memory_order_relaxed);
    return atomic_load(&j.result);
}
