"""Every number that was chosen, with its unit and its reason, in one frozen object."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True):
    """The runtime's constants."""

    work_ahead_s: float = 0.010
    """How much work a worker holds ahead: enough to hide a round trip, little enough to stay balanced."""

    far_work_ahead_s: float = 0.020
    """The same for a worker on another machine: longer calls go there one by one, and a loss costs what has begun."""

    calls_ahead_limit: int = 4096
    """The most calls a worker holds, however short they are: bounds what a death or a take-back has to sort out."""

    bytes_ahead_limit: int = 256 * 1024
    """The most argument bytes in frames of one worker's socket; one call may be larger, and then travels alone."""

    items_ahead_limit: int = 32
    """How many items of a generator may wait to be taken, if its options say nothing: enough to hide a round trip."""

    hold_results_s: float = 0.001
    """A worker tells of finished calls at most this often while it has more to do; results wait in the ring."""

    peek_after_s: float = 0.002
    """Silence of a busy worker after which its ring is looked at once; longer than `hold_results_s`."""

    steal_after_s: float = 0.002
    """Silence of a busy worker after which an idle one may get the calls that it has not begun."""

    recall_after_s: float = 0.020
    """Silence of a busy worker after which it gives up what it has not begun, even if nobody else has time for it."""

    spin_s: float = 200e-6
    """How long a reader spins for an answer that is due before it sleeps: twice what a caller takes from one result to
    its next call where processes are slow, which is less CPU time than to put it to sleep and wake it."""

    poll_every_s: float = 0.001
    """How long results may be read from rings alone before the sockets and pipes are asked too."""

    park_s: float = 0.005
    """How long the background thread leaves the loop to threads that wait for results before it looks again."""

    inline_frame_bytes: int = 64 * 1024
    """Larger frames travel as a memfd: a socket buffer holds only a few hundred kB."""

    ring_record_bytes: int = 16 * 1024
    """Larger results leave the ring and travel as a frame."""

    ring_bytes: int = 256 * 1024
    """Results a worker may have finished and the caller not read: 4096 small ones fit."""

    terminate_grace_s: float = 0.5
    """From SIGTERM to SIGKILL when a pool is terminated."""

    flush_part_after_s: float = 0.1
    """How long a line of a worker's output that has not ended is held back for its end."""

    interrupt_grace_s: float = 1.0
    """From SIGINT to SIGKILL for a worker whose call has run for longer than it may: its `finally` blocks run."""

    interrupt_again_s: float = 0.1
    """When a cancelled call is interrupted again that has not heard of it: it may have been about to begin."""

    idle_limit_s: float = 60.0
    """How long workers for tasks are kept that have nothing to do: a program often goes on with the same."""

    idle_yield_s: float = 0.05
    """The same while tasks of another shape wait for workers."""

    turn_s: float = 0.5
    """How often one of the busy ones makes room then: to start another takes some hundredths of that."""

    store_share: float = 0.4
    """Of the memory that this process may use: how much the store may take."""

    warm_share: float = 0.25
    """Of the store: how much may be kept for the next objects when it is free."""

    short_share: float = 0.05
    """Of the machine's memory: when less is available, no free memory of the store is kept."""

    ask_memory_s: float = 0.25
    """How often the system is asked how much that is."""

    memory_limit_share: float = 0.95
    """Of the memory that this process may use: when more is in use, a worker is ended before the system ends one."""

    look_at_memory_s: float = 0.25
    """How often that is asked while workers run calls: a call fills a few hundred MB in that time."""

    memory_worth_share: float = 0.005
    """Of that memory: a worker that has less is not ended, as that would hardly help."""

    memory_rest_s: float = 1.0
    """How long a call rests whose worker was ended for want of memory before it runs again; doubled each time."""

    memory_rest_limit_s: float = 30.0
    """The longest such rest."""

    warm_after_s: float = 10.0
    """How long free memory is kept for the next objects when no object is made or freed."""

    start_failures_limit: int = 3
    """Workers that may fail in a row before they are ready; then the pool is broken, instead of starting for ever."""

    waiting_limit: int = 100
    """How many workers of one group may wait for calls that theirs have started; each has another in its place. A
    worker takes about six of the 1024 descriptors that a program mostly may have."""

    lineage_limit_bytes: int = 64 * 1024 * 1024
    """How much the calls may take that are remembered, as their values lie on nodes and may have to be made again: a
    hundred thousand small ones."""

    waiting_linger_s: float = 1.0
    """How long a worker that is too many, as one that waited goes on, is kept without work: the next may wait soon."""

    start_kills_limit: int = 20
    """The same where the last one was ended by SIGKILL or SIGTERM before its initializer began."""

    beat_every_s: float = 0.5
    """Between machines: the longest silence of a process that lives."""

    silence_limit_s: float = 2.5
    """Between machines: the silence after which a process is given up."""

    reconnect_limit_s: float = 1.0
    """How long a process whose connection has broken has for the next one; then it is given up."""

    connect_limit_s: float = 5.0
    """How long a command tries to reach a head."""

    key_overlap_s: float = 10.0
    """How long a head tells its members of its next key before it has it: who is away for so long has to join again."""

    key_moved_limit_s: float = 30.0
    """How long a program has to connect anew when the head's key has changed: it may hold the interpreter's lock."""

    look_at_keys_s: float = 1.0
    """How often a head that nobody speaks to looks whether its keys have changed."""

    head_gone_limit_s: float = 60.0
    """The silence of a head after which it will not be started again: nodes that nobody uses end, and so do calls that
    wait for a first worker."""

    drain_limit_s: float = 25.0
    """How long a node that gets SIGTERM lets calls finish: batch systems and Kubernetes kill 30 s after that."""

    tell_of_wait_after_s: float = 2.0
    """How long workers may take to be granted before a program is told why it waits: a node joins within a second."""

    code_limit_bytes: int = 100 * 1024 * 1024
    """The largest folder that is sent to nodes: more is data, which should get there by another way."""

    code_entries_limit: int = 20_000
    """The most files and folders in it."""

    code_cache_bytes: int = 1024 * 1024 * 1024
    """How much of what drivers have sent a node keeps; what was used last stays."""

    environment_cache_bytes: int = 10 * 1024 * 1024 * 1024
    """The same for the environments that it has made with pip."""

    pip_limit_s: float = 900.0
    """How long pip may take for one environment."""


SETTINGS = Settings()
