//! What was measured, as a table and as lines of JSON.

use std::io;

use serde::Serialize;

use crate::{
    case::{Case, Target, Who},
    near::Reading,
};

/// Every reading, in the order of the first of its kind.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Figure>);

#[derive(Debug)]
struct Figure {
    case: Case,
    metric: &'static str,
    who: Who,
    /// One for each round.
    values: Vec<f64>,
}

/// A figure over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Summary {
    median: f64,
    min: f64,
    max: f64,
}

#[derive(Serialize)]
struct Line {
    case: String,
    who: String,
    metric: String,
    #[serde(flatten)]
    summary: Summary,
}

impl Report {
    pub(crate) fn add(&mut self, case: Case, who: Who, readings: Vec<Reading>) {
        for (metric, value) in readings {
            match self.figure_mut(case, who, metric) {
                Some(figure) => figure.values.push(value),
                None => self.0.push(Figure { case, metric, who, values: vec![value] }),
            }
        }
    }

    fn figure_mut(&mut self, case: Case, who: Who, metric: &str) -> Option<&mut Figure> {
        self.0
            .iter_mut()
            .find(|figure| (figure.case, figure.who, figure.metric) == (case, who, metric))
    }

    /// The ratio to raw quinn, round by round: what disturbs one tends to disturb both.
    fn ratio(&self, figure: &Figure) -> Option<Summary> {
        let (case, metric) = (figure.case, figure.metric);
        let is_base = |other: &&Figure| {
            (other.case, other.metric) == (case, metric) && other.who == Who::Quinn
        };
        let base = self.0.iter().find(is_base).filter(|_| figure.who != Who::Quinn)?;
        let ratios = figure.values.iter().zip(&base.values).map(|(value, base)| value / base);
        Some(Summary::of(ratios.collect()))
    }

    /// One line of JSON for each figure; ratios to raw quinn are figures too.
    ///
    /// # Errors
    ///
    /// When nobody reads them.
    pub(crate) fn write_json(&self, out: &mut impl io::Write) -> io::Result<()> {
        for figure in &self.0 {
            let line = |metric: String, summary| Line {
                case: figure.case.to_string(),
                who: figure.who.to_string(),
                metric,
                summary,
            };
            let summary = Summary::of(figure.values.clone());
            writeln!(out, "{}", serde_json::to_string(&line(figure.metric.to_owned(), summary))?)?;
            if let Some(ratio) = self.ratio(figure) {
                let line = line(format!("{}_to_quinn", figure.metric), ratio);
                writeln!(out, "{}", serde_json::to_string(&line)?)?;
            }
        }
        Ok(())
    }

    /// A table for people.
    ///
    /// # Errors
    ///
    /// When nobody reads it.
    pub(crate) fn write_table(&self, out: &mut impl io::Write) -> io::Result<()> {
        let mut kinds: Vec<(Case, &str)> = Vec::new();
        for Figure { case, metric, .. } in &self.0 {
            if !kinds.contains(&(*case, metric)) {
                kinds.push((*case, metric));
            }
        }
        let mut last = None;
        for (case, metric) in kinds {
            if last.replace(case) != Some(case) {
                writeln!(out, "\n{case}")?;
            }
            writeln!(out, "  {}", metric.replace('_', " "))?;
            let is_it = |figure: &&Figure| (figure.case, figure.metric) == (case, metric);
            for figure in self.0.iter().filter(is_it) {
                self.write_row(figure, out)?;
            }
        }
        Ok(())
    }

    fn write_row(&self, figure: &Figure, out: &mut impl io::Write) -> io::Result<()> {
        let Summary { median, min, max } = Summary::of(figure.values.clone());
        let who = figure.who.to_string();
        let range = format!("{} to {}", shown(min), shown(max));
        write!(out, "    {who:<14}{:>12}  {range:<26}", shown(median))?;
        let Some(ratio) = self.ratio(figure) else { return writeln!(out) };
        write!(out, "{:.2} of quinn", ratio.median)?;
        let target = Target::of(figure.case, figure.metric);
        if let Some(target) = target.filter(|_| figure.who == Who::ActixCluster) {
            let verdict = if target.is_met_by(ratio.median) { "met" } else { "MISSED" };
            write!(out, " ({target}: {verdict})")?;
        }
        writeln!(out)
    }
}

impl Summary {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        let median = (at(last / 2) + at(values.len() / 2)) / 2.0;
        Self { median, min: at(0), max: at(last) }
    }
}

/// Three figures at least, and thousands apart.
fn shown(value: f64) -> String {
    if value < 1.0 {
        return format!("{value:.5}");
    }
    if value < 1_000.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut report = Report::default();
        for (ours, quinn) in [(1.0, 2.0), (10.0, 100.0), (3.0, 4.0)] {
            report.add(Case::OneWay(64), Who::ActixCluster, vec![("messages_per_second", ours)]);
            report.add(Case::OneWay(64), Who::Quinn, vec![("messages_per_second", quinn)]);
        }
        let ratio = report.ratio(&report.0[0]);
        assert_eq!(ratio, Some(Summary { median: 0.5, min: 0.1, max: 0.75 }));
        assert_eq!(report.ratio(&report.0[1]), None);
        let mut table = Vec::new();
        report.write_table(&mut table).expect("memory takes it");
        let table = String::from_utf8(table).expect("it is text");
        assert!(table.contains("0.50 of quinn (at least 0.5, aim 0.7: met)"), "{table}");
    }

    #[test]
    fn a_median_of_an_even_number_lies_in_the_middle() {
        let summary = Summary::of(vec![4.0, 1.0, 2.0, 3.0]);
        assert_eq!(summary, Summary { median: 2.5, min: 1.0, max: 4.0 });
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(
            [0.001, 12.34, 999.0, 1_000.0, 1_234_567.0].map(shown),
            ["0.00100", "12.3", "999.0", "1,000", "1,234,567"]
        );
    }
}
