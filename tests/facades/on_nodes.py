"""Which of the tests run a second time with distpool's workers on two nodes, and which of them cannot: one by one.

Each reason is a difference that docs/cluster.md tells of. Everything else must be as on one machine.
"""

MODULES = (
    "test_as_completed",
    "test_buffersize",
    "test_call_options",
    "test_executor",
    "test_extended_pickling",
    "test_futures",
    "test_futures_lifetime",
    "test_futures_state",
    "test_nested_pools",
    "test_pool",
    "test_pool_errors",
    "test_pool_lifetime",
    "test_pool_options",
    "test_pool_results",
    "test_process_future",
    "test_progress",
    "test_wait",
)

_CPUS = "without a number there is a worker for each CPU of the cluster"
_IDS = "the ids of workers are known on their nodes only"
_INHERITED = "what is shared by inheritance does not reach another machine, and is refused"
_LISTED = "a pool lists the workers that have started, and does not wait for them"
_PARENT = "a worker's parent is a process of its node"

EXCLUDED = {
    "test_call_options.test_a_limit_that_is_not_reached_changes_nothing": _IDS,
    "test_futures_lifetime.test_a_call_that_cannot_be_pickled_starts_a_worker_too": _LISTED,
    "test_futures_lifetime.test_the_executor_lists_its_workers": _IDS,
    "test_futures_lifetime.test_what_the_initializer_was_given_is_free_when_the_executor_is": _INHERITED,
    "test_futures_lifetime.test_without_a_number_there_is_a_worker_for_each_cpu": _CPUS,
    "test_futures_lifetime.test_workers_can_be_ended_at_once": _IDS,
    "test_futures_lifetime.test_workers_have_the_standard_names_and_are_no_daemons": _PARENT,
    "test_nested_pools.test_a_killed_driver_leaves_nothing_at_any_depth": _IDS,
    "test_nested_pools.test_terminate_ends_all_that_is_below": _IDS,
    "test_nested_pools.test_the_inner_pool_of_a_killed_worker_is_gone": _IDS,
    "test_nested_pools.test_the_inner_pools_of_a_call_that_ran_for_too_long_are_gone": _IDS,
    "test_pool_lifetime.test_a_pool_asked_for_its_workers_has_all_of_them": _LISTED,
    "test_pool_lifetime.test_a_running_pool_that_is_collected_warns_and_ends": _LISTED,
    "test_pool_lifetime.test_leaving_the_with_block_terminates": _LISTED,
    "test_pool_lifetime.test_no_worker_is_alive_after_join": _LISTED,
    "test_pool_lifetime.test_the_repr_shows_state_and_size": _LISTED,
    "test_pool_lifetime.test_workers_that_are_idle_when_the_pool_closes_exit_with_zero": _LISTED,
    "test_pool_options.test_queues_locks_and_values_work_as_initargs": _INHERITED,
    "test_pool_options.test_the_pool_lists_its_workers": _IDS,
    "test_pool_options.test_without_a_number_there_is_a_worker_for_each_cpu": _CPUS,
    "test_pool_options.test_workers_are_daemons_with_the_standard_names_and_the_caller_as_their_parent": _PARENT,
}
"""By module and test, the reason."""


def runs_on_nodes(module: str, test: str) -> bool:
    return module in MODULES and f"{module}.{test}" not in EXCLUDED
