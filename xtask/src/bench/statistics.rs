//! The few statistics that are reported: no means, because one disturbed round would move them.

/// Of some rounds' figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Summary {
    pub(super) min: f64,
    pub(super) low_quartile: f64,
    pub(super) median: f64,
    pub(super) high_quartile: f64,
    pub(super) max: f64,
}

impl Summary {
    /// Of these figures; all zero if there are none.
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |quantile: f64| quantile_of(&sorted, quantile);
        Self { min: at(0.0), low_quartile: at(0.25), median: at(0.5), high_quartile: at(0.75), max: at(1.0) }
    }

    /// Of each round's ratio of one side to another.
    pub(super) fn of_ratios(figures: &[f64], to: &[f64]) -> Self {
        Self::of(figures.iter().zip(to).map(|(figure, to)| figure / to))
    }
}

/// Interpolated between neighbours.
fn quantile_of(sorted: &[f64], quantile: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = quantile * last as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::Summary;

    #[test]
    fn quantiles_are_interpolated() {
        for (figures, expected) in [
            (&[][..], [0.0; 5]),
            (&[3.0], [3.0; 5]),
            (&[4.0, 1.0, 2.0, 3.0], [1.0, 1.75, 2.5, 3.25, 4.0]),
            (&[5.0, 1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0, 5.0]),
        ] {
            let [min, low_quartile, median, high_quartile, max] = expected;
            let expected = Summary { min, low_quartile, median, high_quartile, max };
            assert_eq!(Summary::of(figures.iter().copied()), expected, "{figures:?}");
        }
    }
}
