"""Which test proves which point: deaths of a worker at each point of a call's life (A), and of the driver (D).

What needs several machines, actors or an object store (rows A4 over a network, B, C, D2, D5 to D10, E) is not here.
"""

CRASH = "faults/test_crash_points.py"
ERRORS = "faults/test_call_errors.py"
DIED = "faults/test_worker_died.py"
LIMITS = "faults/test_time_limits.py"
INITIALIZERS = "faults/test_initializers.py"
GRANDCHILDREN = "faults/test_grandchildren.py"
INTERRUPTS = "faults/test_interrupts.py"
ENDINGS = "faults/test_endings.py"
MATRIX = "faults/test_matrix.py::test_a_fault_harms_the_call_that_it_belongs_to_and_no_other"
LOSS = "runtime/test_worker_loss.py"
TEMPLATE = "runtime/test_template.py"

PROOFS = {
    "A1 submit, before it is pickled": [
        f"{CRASH}::test_a_worker_that_dies_while_the_caller_still_pickles_costs_nothing"
    ],
    "A2 pickling the arguments fails": [
        MATRIX,
        f"{ERRORS}::test_an_argument_that_cannot_be_pickled_fails_its_call_and_holds_no_place",
    ],
    "A3 pickling the arguments kills the driver": [
        f"{ENDINGS}::test_a_program_that_ends_with_calls_running_leaves_nothing"
    ],
    "A4 on its way": [
        f"{LOSS}::test_a_function_reaches_a_worker_whose_socket_was_full_when_it_was_first_called",
        f"{CRASH}::test_an_argument_too_large_for_a_socket_sent_to_a_worker_that_dies_before_it_reads_runs_elsewhere",
    ],
    "A5 idle": [f"{CRASH}::test_workers_that_are_killed_idle_are_replaced_and_no_call_is_touched"],
    "A6 received, not begun": [
        f"{CRASH}::test_calls_sent_to_a_worker_that_dies_before_it_reads_them_run_elsewhere_once",
        f"{CRASH}::test_a_chunk_that_its_worker_had_not_begun_runs_elsewhere_as_a_whole",
        f"{LOSS}::test_calls_that_the_dead_worker_held_and_had_not_begun_run_elsewhere",
    ],
    "A7 unpickling the arguments raises": [
        MATRIX,
        f"{CRASH}::test_an_argument_that_raises_at_unpickle_has_its_remote_traceback_and_the_worker_lives",
    ],
    "A8 unpickling the arguments kills": [
        MATRIX,
        f"{CRASH}::test_an_argument_that_kills_at_unpickle_fails_its_call_and_kills_nobody_but_the_worker",
    ],
    "A9 running": [
        MATRIX,
        f"{CRASH}::test_a_death_while_running_is_told_at_once",
        f"{CRASH}::test_a_death_surfaces_through_every_kind_of_call",
        f"{CRASH}::test_the_rest_of_a_chunk_runs_elsewhere_once_when_an_item_kills_its_worker",
        f"{DIED}::test_it_names_the_call_the_process_its_end_its_memory_its_last_words_and_the_remedy",
        f"{DIED}::test_without_retries_a_call_that_kills_runs_once",
        f"{DIED}::test_with_retries_a_call_runs_again_until_it_succeeds",
    ],
    "A10 pickling the result raises": [
        MATRIX,
        f"{CRASH}::test_a_result_that_cannot_be_pickled_says_what_it_was_and_the_worker_lives",
    ],
    "A11 pickling the result exits or kills": [
        MATRIX,
        f"{CRASH}::test_a_result_that_exits_while_it_is_pickled_is_that_exit_to_the_caller",
    ],
    "A12 half of the result sent": [
        f"{CRASH}::test_a_worker_that_dies_while_it_sends_has_answered_or_not_but_never_half",
        f"{CRASH}::test_a_worker_killed_at_any_moment_around_its_result_answers_whole_or_not_at_all",
    ],
    "A13 result sent, not read yet": [f"{LOSS}::test_results_that_were_finished_before_a_death_are_kept"],
    "A14 unpickling the result raises": [
        MATRIX,
        f"{ERRORS}::test_a_result_that_fails_to_unpickle_fails_its_call_only",
        f"{ERRORS}::test_a_map_with_a_result_that_fails_to_unpickle_fails_and_the_pool_goes_on",
    ],
    "A15 callbacks": [
        f"{ERRORS}::test_a_callback_that_fails_or_exits_harms_no_other",
        f"{ERRORS}::test_a_callback_may_call_the_pool_after_a_death",
        "facades/test_pool.py::test_a_callback_may_submit_more_work",
        "facades/test_futures_state.py::test_an_exception_in_a_callback_is_logged_and_the_others_run",
        "runtime/test_session.py::test_a_callback_opens_and_ends_a_pool",
    ],
    "A16 awkward exceptions": [
        MATRIX,
        f"{ERRORS}::test_an_exception_arrives_with_its_type_and_traceback_and_the_worker_goes_on",
        f"{ERRORS}::test_notes_causes_contexts_and_members_of_groups_are_in_the_remote_traceback",
        f"{ERRORS}::test_a_huge_traceback_is_cut",
    ],
    "A17 exits raised in the call": [
        MATRIX,
        f"{ERRORS}::test_exits_in_a_map_or_an_iterator_belong_to_their_items",
    ],
    "A18 extreme values": [
        MATRIX,
        f"{ERRORS}::test_nothing_and_much_travel_alike",
        f"{ERRORS}::test_a_result_is_read_whole_however_little_the_kernel_gives_at_once",
        f"{ERRORS}::test_a_nesting_that_the_standard_pickle_carries_is_carried",
    ],
    "A19 endless calls": [
        f"{LIMITS}::test_a_call_that_runs_too_long_is_stopped_at_its_limit",
        f"{LIMITS}::test_a_call_that_catches_everything_is_stopped_too",
        f"{LIMITS}::test_a_future_that_was_cancelled_before_it_began_never_runs",
    ],
    "A20 the interpreter is held": [f"{LIMITS}::test_a_worker_that_holds_the_interpreter_is_not_taken_for_dead"],
    "A21 workers are replaced after so many calls": [
        "facades/test_pool_options.py::test_no_result_is_lost_when_workers_are_replaced"
    ],
    "A22 initializers": [
        f"{INITIALIZERS}::test_a_pool_breaks_after_three_tries_and_says_why",
        f"{INITIALIZERS}::test_a_pool_whose_initializer_hangs_can_be_terminated",
    ],
    "A23 grandchildren": [
        f"{GRANDCHILDREN}::test_what_a_killed_worker_had_started_is_gone",
        f"{GRANDCHILDREN}::test_a_forked_child_of_a_worker_that_died_is_gone_and_hides_no_death",
    ],
    "A24 pools inside calls": [
        f"{ENDINGS}::test_a_pool_inside_a_call_loses_its_workers_alone_and_ends_with_its_owner",
        "facades/test_futures_lifetime.py::test_a_worker_may_use_an_executor_of_its_own",
    ],
    "A25 several deaths at once": [
        f"{CRASH}::test_all_workers_die_in_the_same_moment",
        f"{CRASH}::test_stopped_workers_that_are_killed_together_have_not_begun_what_they_hold",
        f"{CRASH}::test_workers_die_while_their_replacements_start",
    ],
    "D1 the driver is killed": [
        f"{TEMPLATE}::test_a_killed_driver_leaves_nothing",
        f"{TEMPLATE}::test_a_driver_killed_while_its_workers_start_leaves_nothing",
        f"{GRANDCHILDREN}::test_a_killed_driver_leaves_no_grandchildren",
    ],
    "D3 Ctrl-C": [
        f"{INTERRUPTS}::test_ctrl_c_ends_the_program_at_once_with_one_traceback",
        f"{INTERRUPTS}::test_a_program_that_catches_ctrl_c_uses_its_pool_again",
        f"{INTERRUPTS}::test_calls_that_ignore_ctrl_c_do_not_keep_the_program",
    ],
    "D4 the driver ends": [
        f"{ENDINGS}::test_a_program_that_ends_with_calls_running_leaves_nothing",
        f"{TEMPLATE}::test_a_driver_ended_by_a_signal_leaves_nothing",
        "facades/test_scripts.py::test_a_program_may_end_with_a_pool_still_running",
    ],
}
