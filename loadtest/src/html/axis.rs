//! An axis of a chart: from values to places, with a grid of round numbers.

/// Lines of the grid, at most.
const GRID: f64 = 5.0;

/// How a quantity is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Evenly, from zero.
    Linear,
    /// By powers of ten.
    Log,
}

/// From values to places.
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis that holds these values, from one place to another; a log one holds what is above 0.
    pub(super) fn new(scale: Scale, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut least, mut most) = (f64::MAX, f64::MIN);
        for value in values.filter(|value| scale == Scale::Linear || *value > 0.0) {
            least = least.min(value);
            most = most.max(value);
        }
        if least > most {
            (least, most) = (1.0, 1.0);
        }
        let (low, high) = match scale {
            Scale::Linear => (0.0, ceiling(most)),
            // Whole powers of ten, and at least one of them.
            Scale::Log => {
                let (low, high) = (least.log10().floor(), most.log10().ceil());
                (low, high.max(low + 1.0))
            }
        };
        Self {
            scale,
            low,
            high,
            from,
            to,
        }
    }

    /// Where a value is.
    pub(super) fn place(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
        };
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.from + (self.to - self.from) * share
    }

    /// The values of the grid.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let step = match self.scale {
            Scale::Linear => step(self.high / GRID),
            Scale::Log => 1.0,
        };
        let values = std::iter::successors(Some(self.low), |value| Some(value + step));
        let values = values.take_while(|value| *value <= self.high + step * 1e-6);
        match self.scale {
            Scale::Linear => values.collect(),
            Scale::Log => values.map(|power| 10_f64.powf(power)).collect(),
        }
    }
}

/// The next step of 1, 2, 5, 10 and so on that is no less than `least`.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(f64::MIN_POSITIVE).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps
        .into_iter()
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(least)
}

/// The end of an axis that reaches `most`.
fn ceiling(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let step = step(most / GRID);
    (most / step).ceil() * step
}

#[cfg(test)]
mod tests {
    use super::{super::plot::short, *};

    #[test]
    fn axes_end_at_round_numbers() {
        for (most, end, ticks) in [
            (0.0, 1.0, 6),
            (7.3, 8.0, 5),
            (95.0, 100.0, 6),
            (1.0, 1.0, 6),
        ] {
            let axis = Axis::new(Scale::Linear, [most].into_iter(), 0.0, 100.0);
            assert!((axis.high - end).abs() < 1e-9, "{most}: {}", axis.high);
            assert_eq!(axis.ticks().len(), ticks, "{most}");
        }
        let axis = Axis::new(Scale::Log, [0.3, 40.0].into_iter(), 0.0, 30.0);
        let ticks: Vec<String> = axis.ticks().into_iter().map(short).collect();
        assert_eq!(ticks, ["0.1", "1", "10", "100"]);
        assert!((axis.place(1.0) - 10.0).abs() < 1e-9);
    }
}
