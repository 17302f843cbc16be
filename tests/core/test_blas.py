from threadpoolctl import threadpool_info, threadpool_limits

from icecore.core.blas import with_one_thread


def threads() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_inside_there_is_one_thread_and_after_it_as_many_as_before():
    @with_one_thread
    def work(number, *, more=0):
        """What it does."""
        return number + more, threads()

    with threadpool_limits(2, user_api="blas"):
        before = threads()
        assert 2 in before
        assert work(1, more=2) == (3, {1})
        assert threads() == before
    assert (work.__name__, work.__doc__) == ("work", "What it does.")
