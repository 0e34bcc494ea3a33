import numpy as np

from services.train_svc.engine.losses import ctc_greedy, decoder_inputs, end_token


def test_a_decoder_reads_the_start_and_then_the_labels_in_either_order() -> None:
    labels = np.array([[5, 6, 7], [8, 99, 99], [99, 99, 99]], np.int32)
    found = decoder_inputs(labels, np.array([3, 1, 0]), start=9)
    assert found["targets"].tolist() == [[9, 5, 6, 7], [9, 8, 9, 9], [9, 9, 9, 9]]
    assert found["reverse_targets"].tolist() == [[9, 7, 6, 5], [9, 8, 9, 9], [9, 9, 9, 9]]
    assert {array.dtype for array in found.values()} == {np.dtype(np.int64)}


def test_a_batch_without_labels_reads_the_start_alone() -> None:
    found = decoder_inputs(np.zeros((2, 0), np.int64), np.array([0, 0]), start=3)
    assert found["targets"].tolist() == found["reverse_targets"].tolist() == [[3], [3]]


def test_start_and_end_are_the_last_token() -> None:
    assert end_token(4233) == 4232


def test_the_best_path_merges_repeats_and_drops_blanks() -> None:
    paths = np.array([[1, 1, 0, 1, 2, 2], [0, 0, 3, 3, 0, 1], [0, 0, 0, 0, 0, 0]])
    scores = np.eye(4)[paths]
    assert ctc_greedy(scores, np.array([6, 5, 6])) == [[1, 1, 2], [3], []]
    assert ctc_greedy(scores, np.array([6, 0, 2]), blank=1) == [[0, 2], [], [0]]
