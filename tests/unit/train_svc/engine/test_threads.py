from services.train_svc.engine.templates import describe
from services.train_svc.engine.threads import choose_threads, forward_operations


def test_operations_are_counted_as_by_hand() -> None:
    # Two operations a multiply-add: 64 x 128, 128 x 128 and 128 x 10, for each of 3 samples.
    assert forward_operations(describe("mlp"), 3) == 3 * 2 * (64 * 128 + 128 * 128 + 128 * 10)


def test_a_small_model_gets_one_thread_and_a_large_one_no_more_than_eight() -> None:
    assert choose_threads(describe("resnet_small"), 32) == 1
    assert 1 <= choose_threads(describe("resnet_small", size="cifar"), 4096) <= 8
