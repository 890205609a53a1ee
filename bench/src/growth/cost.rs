//! CPU-µs per operation at the points of an axis: of all processes, and each one's share on top of the others.
//!
//! Invariant: of several stretches at a point the one of median cost is told, so that its shares add up to it.

use std::collections::BTreeSet;

use super::{
    Grown,
    chart::{Chart, Scale, Series},
    table::{Table, cell},
};
use crate::rows::sample::{CPU_US, RATE, Sample};

/// Shares below this part of the dearest point's cost are drawn together.
const SMALL: f64 = 0.02;
const OTHERS: &str = "others";

/// What is measured along an axis.
pub(super) struct Costs {
    /// Of the chart.
    pub(super) title: &'static str,
    /// Of x, in the chart.
    pub(super) label: &'static str,
    /// Of x, and of what else was measured, in the data file.
    pub(super) columns: (&'static str, &'static [&'static str]),
    /// What outlasts what, and whatever else is to be known.
    pub(super) comments: Vec<String>,
    points: Vec<Point>,
}

/// At one x.
struct Point {
    x: f64,
    /// Which kind, where there are several; only the first kind's is drawn as bars.
    kind: &'static str,
    found: Result<Told, String>,
}

/// Of some stretches.
struct Told {
    sample: Sample,
    least: f64,
    most: f64,
}

impl Told {
    fn of(mut samples: Vec<Sample>) -> Option<Self> {
        samples.sort_by(|a, b| a.get(CPU_US).total_cmp(&b.get(CPU_US)));
        let (least, most) = (samples.first()?.get(CPU_US), samples.last()?.get(CPU_US));
        let middle = (samples.len() - 1) / 2;
        Some(Self { sample: samples.swap_remove(middle), least, most })
    }
}

/// A process by what it does.
fn called(process: &str) -> String {
    match process {
        "java" => "Kafka broker".to_owned(),
        "postgres" => "Postgres, primary and replica".to_owned(),
        "accept" => "api on a local log".to_owned(),
        "millpond-bench" => "client".to_owned(),
        process => process.to_owned(),
    }
}

impl Costs {
    /// Nothing is measured yet.
    pub(super) fn new(
        title: &'static str,
        label: &'static str,
        columns: (&'static str, &'static [&'static str]),
    ) -> Self {
        Self { title, label, columns, comments: Vec::new(), points: Vec::new() }
    }

    /// The stretches at a point, or why there are none; a line for people.
    pub(super) fn add(&mut self, x: f64, kind: &'static str, samples: Result<Vec<Sample>, String>) -> String {
        let found =
            samples.and_then(|samples| Told::of(samples).ok_or_else(|| "nothing was measured".to_owned()));
        let at = format!("{} {x}{}{kind}", self.columns.0, if kind.is_empty() { "" } else { ", " });
        let line = match &found {
            Ok(Told { sample, least, most }) => {
                let more = self.columns.1.iter().map(|name| format!(", {name} {:.3}", sample.get(name)));
                format!(
                    "{at}: {:.2} CPU-µs/op ({least:.2}-{most:.2}), {:.0}/s{}: {}",
                    sample.get(CPU_US),
                    sample.get(RATE),
                    more.collect::<String>(),
                    sample.shares()
                )
            }
            Err(reason) => format!("{at}: missing: {reason}"),
        };
        self.points.push(Point { x, kind, found });
        line
    }

    /// Data and chart.
    pub(super) fn grown(self) -> Grown {
        Grown { table: self.table(), chart: self.chart() }
    }

    fn processes(&self) -> BTreeSet<String> {
        let samples = self.points.iter().filter_map(|point| point.found.as_ref().ok());
        samples.flat_map(|told| told.sample.shares().0).map(|(process, _)| process).collect()
    }

    fn table(&self) -> Table {
        let (x, more) = self.columns;
        let processes = self.processes();
        let before = [x, "kind", "operations_per_s", "cpu_us", "cpu_us_least", "cpu_us_most"];
        let shares = processes.iter().map(|process| format!("cpu_us of {process}"));
        let columns = before.iter().chain(more).map(|name| (*name).to_owned());
        let mut table = Table::new(columns.chain(shares).chain(["missing".to_owned()]));
        for comment in &self.comments {
            table.comment(comment);
        }
        for Point { x, kind, found } in &self.points {
            let numbers: Vec<f64> = match found {
                Ok(Told { sample, least, most }) => {
                    let values = [sample.get(RATE), sample.get(CPU_US), *least, *most];
                    let more = more.iter().map(|name| sample.get(name));
                    let shares = processes.iter().map(|process| sample.shares().of(process));
                    values.into_iter().chain(more).chain(shares).collect()
                }
                Err(_) => vec![f64::NAN; 4 + more.len() + processes.len()],
            };
            let missing = found.as_ref().err().cloned().unwrap_or_default();
            let cells = [cell(*x), (*kind).to_owned()].into_iter();
            table.row(cells.chain(numbers.into_iter().map(cell)).chain([missing]));
        }
        table
    }

    /// Of the kind that was measured first.
    fn chart(&self) -> Chart {
        let first = self.points.first().map_or("", |point| point.kind);
        let of_kind = || self.points.iter().filter(|point| point.kind == first);
        let found: Vec<(f64, &Sample)> =
            of_kind().filter_map(|point| Some((point.x, &point.found.as_ref().ok()?.sample))).collect();
        let dearest = found.iter().map(|(_, sample)| sample.get(CPU_US)).fold(0.0, f64::max);
        let (mut series, mut others): (Vec<Series>, Vec<(f64, f64)>) = (Vec::new(), Vec::new());
        for process in self.processes() {
            let share = |(x, sample): &(f64, &Sample)| (*x, sample.shares().of(&process));
            let points: Vec<(f64, f64)> = found.iter().map(share).collect();
            if points.iter().all(|(_, us)| *us < dearest * SMALL) {
                others.extend(points);
            } else {
                series.push(Series { name: called(&process), points });
            }
        }
        if others.iter().any(|(_, us)| *us > 0.0) {
            series.push(Series { name: OTHERS.to_owned(), points: others });
        }
        Chart {
            title: format!("{}{}{first}", self.title, if first.is_empty() { "" } else { ", " }),
            x: Scale {
                label: self.label.to_owned(),
                log: true,
                ticks: of_kind().map(|point| point.x).collect(),
            },
            y: Scale { label: "CPU-µs per operation".to_owned(), log: false, ticks: Vec::new() },
            series,
            stacked: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::cpu::Shares;

    fn sample(shares: &[(&str, f64)]) -> Sample {
        let each = shares.iter().map(|(process, us)| ((*process).to_owned(), *us)).collect();
        let mut sample = Sample::of_shares(Shares(each));
        sample.set(CPU_US, shares.iter().map(|(_, us)| us).sum());
        sample.set(RATE, 1_000.0);
        sample
    }

    fn costs() -> Costs {
        let mut costs = Costs::new("cost", "places", ("places", &[]));
        let samples = [[3.0, 0.01], [9.0, 0.01], [1.0, 0.01]];
        let samples = samples.map(|[one, other]| sample(&[("java", one), ("tools", other)]));
        costs.add(1.0, "", Ok(samples.to_vec()));
        costs.add(10.0, "", Err("no room, here".to_owned()));
        costs
    }

    #[test]
    fn the_median_stretch_is_told_with_its_own_shares() {
        let text = costs().table().text("seen");
        assert_eq!(
            text,
            "# seen\nplaces,kind,operations_per_s,cpu_us,cpu_us_least,cpu_us_most,cpu_us of java,cpu_us of tools,\
             missing\n1,,1000,3.0100,1.0100,9.0100,3,0.0100,\n10,,,,,,,,no room; here\n"
        );
    }

    #[test]
    fn a_missing_point_keeps_its_place_and_small_shares_are_together() {
        let chart = costs().chart();
        assert_eq!(chart.x.ticks, [1.0, 10.0]);
        let names: Vec<&str> = chart.series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["Kafka broker", OTHERS]);
        assert_eq!(chart.series[0].points, [(1.0, 3.0)]);
    }
}
