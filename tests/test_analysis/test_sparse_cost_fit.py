import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from mmdet_srn.analysis.sparse_cost import SparseComparison
from mmdet_srn.analysis.sparse_cost_fit import fit_sparse_cost


def cases(factor, overhead, noise=0.0, number=40):
    """Maps of all sizes, each computed densely at a rate of its own."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(number):
        dense_work = 10 ** rng.uniform(8, 11)
        sparse_work = dense_work * rng.uniform(0.01, 1)
        rate = rng.uniform(2e10, 6e10)
        work = (factor * sparse_work + overhead) * np.exp(noise * rng.normal())
        made.append(
            SparseComparison(
                int(sparse_work), int(dense_work), work / rate, dense_work / rate
            )
        )
    return made


@settings(max_examples=50, deadline=None)
@given(factor=st.floats(0.1, 10), overhead=st.just(0) | st.floats(1e6, 1e11))
def test_recovers_what_the_times_were_made_by(factor, overhead):
    fitted = fit_sparse_cost(cases(factor, overhead))
    assert fitted.factor == pytest.approx(factor, rel=1e-5)
    assert fitted.overhead == pytest.approx(overhead, rel=1e-5, abs=1e3)


def test_is_the_least_of_its_errors():
    """Those of the documentation, found in another way."""
    measured = cases(1.3, 2e8, noise=0.2)

    def error(cost):
        total = 0
        for case in measured:
            predicted = cost[0] * case.sparse_work + 1e8 * cost[1]
            seconds = predicted * case.dense_seconds / case.dense_work
            slower = max(case.sparse_seconds, case.dense_seconds)
            total += ((seconds - case.sparse_seconds) / slower) ** 2
        return total

    found = minimize(
        error, [1, 1], method='Nelder-Mead', options=dict(xatol=1e-8, fatol=1e-12)
    )
    fitted = fit_sparse_cost(measured)
    assert fitted.factor == pytest.approx(found.x[0], rel=1e-4)
    assert fitted.overhead == pytest.approx(1e8 * found.x[1], rel=1e-4)
    assert fitted.factor != pytest.approx(1.3, rel=1e-3)


def test_the_speed_of_a_case_does_not_count():
    measured = cases(1.3, 2e8, noise=0.2)
    slow = [
        SparseComparison(
            *case[:2],
            case.sparse_seconds * 10**number,
            case.dense_seconds * 10**number,
        )
        for number, case in zip([0, 1, 2] * 14, measured, strict=False)
    ]
    assert fit_sparse_cost(slow) == pytest.approx(fit_sparse_cost(measured))


def test_no_overhead_below_zero():
    dense = [SparseComparison(n, 10**9, 2e-9 * n - 0.05, 1.0) for n in (10**8, 10**9)]
    fitted = fit_sparse_cost(dense)
    assert fitted.overhead == 0 and 0 < fitted.factor < 2


@pytest.mark.parametrize('field', SparseComparison._fields)
@pytest.mark.parametrize('value', [0, -1, float('nan'), float('inf')])
def test_numbers_that_are_none(field, value):
    measured = cases(1.3, 2e8, number=3)
    measured[1] = measured[1]._replace(**{field: value})
    with pytest.raises(ValueError, match=f'positive and finite.*{field}={value}'):
        fit_sparse_cost(measured)


def test_cases_that_leave_it_open():
    one = cases(1.3, 2e8, number=1)
    for measured in ([], one, 2 * one):
        with pytest.raises(ValueError, match=f'different .*, got {len(measured)} of'):
            fit_sparse_cost(measured)
