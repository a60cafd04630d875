//! What was measured, as a table and as lines of JSON.

use std::{fmt, io};

use serde::Serialize;

/// Every reading, in the order of the first of its kind.
#[derive(Debug)]
pub struct Report {
    figures: Vec<Figure>,
    standards: Standards,
    notes: Vec<String>,
}

/// What a figure is compared with, by its case, metric and who.
pub type Standards = fn(case: &str, metric: &str, who: &str) -> Vec<Standard>;

/// Something that a figure is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Standard {
    /// Whose figure it is divided by, round by round: what disturbs one tends to disturb both.
    /// Without one the figure counts as it is.
    pub base: Option<&'static str>,
    /// What is to be reached, if anything.
    pub target: Option<Target>,
}

/// What a figure or a ratio is to reach.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What counts.
    pub bound: Bound,
    /// What would be better still.
    pub aim: Option<f64>,
}

/// On which side of a value a figure is to be.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// There, or above.
    AtLeast(f64),
    /// There, or below.
    AtMost(f64),
}

impl Target {
    /// To be there, or above.
    pub fn at_least(bound: f64) -> Self {
        Self { bound: Bound::AtLeast(bound), aim: None }
    }

    /// To be there, or below.
    pub fn at_most(bound: f64) -> Self {
        Self { bound: Bound::AtMost(bound), aim: None }
    }

    /// With what would be better still.
    pub fn aim(self, aim: f64) -> Self {
        Self { aim: Some(aim), ..self }
    }

    /// Whether a value reaches it.
    pub fn is_met_by(&self, value: f64) -> bool {
        match self.bound {
            Bound::AtLeast(bound) => value >= bound,
            Bound::AtMost(bound) => value <= bound,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bound {
            Bound::AtLeast(bound) => write!(f, "at least {bound}")?,
            Bound::AtMost(bound) => write!(f, "at most {bound}")?,
        }
        self.aim.map_or(Ok(()), |aim| write!(f, ", aim {aim}"))
    }
}

#[derive(Debug)]
struct Figure {
    case: String,
    metric: String,
    who: String,
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
struct Line<'a> {
    case: &'a str,
    who: &'a str,
    metric: &'a str,
    #[serde(flatten)]
    summary: Summary,
}

impl Report {
    /// An empty one, whose figures will be held against these standards.
    pub fn new(standards: Standards) -> Self {
        Self { figures: Vec::new(), standards, notes: Vec::new() }
    }

    /// Adds one round's reading.
    pub fn add(&mut self, case: &str, who: &str, metric: &str, value: f64) {
        let same = |figure: &&mut Figure| {
            (&*figure.case, &*figure.who, &*figure.metric) == (case, who, metric)
        };
        match self.figures.iter_mut().find(same) {
            Some(figure) => figure.values.push(value),
            None => self.figures.push(Figure {
                case: case.to_owned(),
                metric: metric.to_owned(),
                who: who.to_owned(),
                values: vec![value],
            }),
        }
    }

    /// Adds what the figures don't tell, for those who read the table.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// A figure beside what it is compared with, over all rounds.
    fn compared(&self, figure: &Figure) -> Vec<(Standard, Summary)> {
        let of_standard = |standard: Standard| {
            let Some(base) = standard.base else {
                return Some((standard, Summary::of(figure.values.clone())));
            };
            let is_base = |other: &&Figure| {
                (&other.case, &other.metric, &*other.who) == (&figure.case, &figure.metric, base)
            };
            let base = self.figures.iter().find(is_base)?;
            let ratios = figure.values.iter().zip(&base.values).map(|(value, base)| value / base);
            Some((standard, Summary::of(ratios.collect())))
        };
        let standards = (self.standards)(&figure.case, &figure.metric, &figure.who);
        standards.into_iter().filter_map(of_standard).collect()
    }

    /// One line of JSON for each figure; ratios are figures too.
    ///
    /// # Errors
    ///
    /// When nobody reads them.
    pub fn write_json(&self, out: &mut impl io::Write) -> io::Result<()> {
        for figure in &self.figures {
            let Figure { case, who, metric, values } = figure;
            let mut write = |metric: &str, summary: Summary| {
                let line = Line { case, who, metric, summary };
                writeln!(out, "{}", serde_json::to_string(&line)?)
            };
            write(metric, Summary::of(values.clone()))?;
            for (standard, summary) in self.compared(figure) {
                if let Some(base) = standard.base {
                    write(&format!("{metric}_to_{base}"), summary)?;
                }
            }
        }
        Ok(())
    }

    /// A table for people.
    ///
    /// # Errors
    ///
    /// When nobody reads it.
    pub fn write_table(&self, out: &mut impl io::Write) -> io::Result<()> {
        let mut kinds: Vec<(&str, &str)> = Vec::new();
        for Figure { case, metric, .. } in &self.figures {
            if !kinds.contains(&(case, metric)) {
                kinds.push((case, metric));
            }
        }
        let mut last = None;
        for (case, metric) in kinds {
            if last.replace(case) != Some(case) {
                writeln!(out, "\n{case}")?;
            }
            writeln!(out, "  {}", metric.replace('_', " "))?;
            let is_it = |figure: &&Figure| (&*figure.case, &*figure.metric) == (case, metric);
            for figure in self.figures.iter().filter(is_it) {
                self.write_row(figure, out)?;
            }
        }
        if !self.notes.is_empty() {
            writeln!(out)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "{note}"))
    }

    fn write_row(&self, figure: &Figure, out: &mut impl io::Write) -> io::Result<()> {
        let Summary { median, min, max } = Summary::of(figure.values.clone());
        let range = format!("{} to {}", shown(min), shown(max));
        write!(out, "    {:<16}{:>12}  {range:<26}", figure.who, shown(median))?;
        let mut compared = Vec::new();
        for (Standard { base, target }, summary) in self.compared(figure) {
            let ratio = base.map(|base| format!("{:.2} of {base}", summary.median));
            let verdict = target.map(|target| {
                let verdict = if target.is_met_by(summary.median) { "met" } else { "MISSED" };
                format!("({target}: {verdict})")
            });
            compared.push([ratio, verdict].into_iter().flatten().collect::<Vec<_>>().join(" "));
        }
        writeln!(out, "{}", compared.join(", "))
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

    /// `near` is to reach half of `far`, and to be below 5 itself.
    fn standards(_: &str, _: &str, who: &str) -> Vec<Standard> {
        let half = Standard { base: Some("far"), target: Some(Target::at_least(0.5).aim(0.7)) };
        let small = Standard { base: None, target: Some(Target::at_most(2.5)) };
        if who == "near" { vec![half, small] } else { Vec::new() }
    }

    fn report() -> Report {
        let mut report = Report::new(standards);
        for (near, far) in [(1.0, 2.0), (10.0, 100.0), (3.0, 4.0)] {
            report.add("one", "near", "a_second", near);
            report.add("one", "far", "a_second", far);
        }
        report
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let report = report();
        let compared = report.compared(&report.figures[0]);
        assert_eq!(compared[0].1, Summary { median: 0.5, min: 0.1, max: 0.75 });
        assert_eq!(report.compared(&report.figures[1]).len(), 0);
        let mut lines = Vec::new();
        report.write_json(&mut lines).expect("memory takes it");
        let lines = String::from_utf8(lines).expect("it is text");
        let ratio = r#""who":"near","metric":"a_second_to_far","median":0.5,"min":0.1,"max":0.75"#;
        assert!(lines.contains(ratio) && lines.lines().count() == 3, "{lines}");
    }

    #[test]
    fn a_table_says_which_targets_are_met() {
        let mut report = report();
        report.note("nobody else was there".to_owned());
        let mut table = Vec::new();
        report.write_table(&mut table).expect("memory takes it");
        let table = String::from_utf8(table).expect("it is text");
        let verdicts = "0.50 of far (at least 0.5, aim 0.7: met), (at most 2.5: MISSED)\n";
        assert!(table.contains(verdicts), "{table}");
        assert!(table.ends_with("\nnobody else was there\n"), "{table}");
    }

    #[test]
    fn a_target_is_met_at_its_bound() {
        let rate = Target::at_least(0.5);
        assert!(rate.is_met_by(0.5) && !rate.is_met_by(0.49));
        let wait = Target::at_most(1.15);
        assert!(wait.is_met_by(1.15) && !wait.is_met_by(1.16));
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
