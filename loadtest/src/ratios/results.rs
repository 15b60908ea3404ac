//! The result files of a sitting: flat JSON objects, one for each run of a server in a shape.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::Medians;
use crate::failure::{Doing, Failure, Result};

/// All results, by shape, server and number of the run.
#[derive(Debug, Default)]
pub struct Results(BTreeMap<(String, String, u32), Run>);

/// One run.
#[derive(Debug, Default)]
struct Run {
    figures: BTreeMap<String, f64>,
    faults: BTreeMap<String, u64>,
}

impl Results {
    /// Reads `shape/server-number.json` of a folder, for these shapes; for all, if none is named.
    ///
    /// # Errors
    /// When a folder or file cannot be read, or a shape has no results.
    pub fn read(folder: &Path, shapes: &[String]) -> Result<Self> {
        let mut results = Self::default();
        let wanted = |path: &&PathBuf| {
            let named = || shapes.iter().any(|shape| shape == name(path));
            path.is_dir() && (shapes.is_empty() || named())
        };
        for shape in entries(folder)?.iter().filter(wanted) {
            for file in entries(shape)? {
                let Some((server, number)) = name(&file)
                    .strip_suffix(".json")
                    .and_then(|name| name.rsplit_once('-'))
                else {
                    continue;
                };
                let Ok(number) = number.parse() else { continue };
                let what = format!("read {}", file.display());
                let text = fs::read_to_string(&file).doing(&what)?;
                let json = serde_json::from_str(&text).doing(&what)?;
                results.add(name(shape), server, number, &json);
            }
        }
        let folder = folder.display();
        if results.0.is_empty() {
            return Err(Failure::new(format!("no results in {folder}")));
        }
        if let Some(shape) = shapes.iter().find(|shape| !results.has_shape(shape)) {
            return Err(Failure::new(format!("no results of {shape} in {folder}")));
        }
        Ok(results)
    }

    /// Adds a run.
    pub fn add(&mut self, shape: &str, server: &str, number: u32, json: &Value) {
        let mut run = Run::default();
        for (name, value) in json.as_object().into_iter().flatten() {
            if let Some(value) = value.as_f64() {
                run.figures.insert(name.clone(), value);
            }
        }
        for (name, count) in json
            .get("faults")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            if let Some(count) = count.as_u64().filter(|count| *count > 0) {
                run.faults.insert(name.clone(), count);
            }
        }
        let key = (shape.to_owned(), server.to_owned(), number);
        self.0.insert(key, run);
    }

    /// True when anybody ran the shape.
    #[must_use]
    pub fn has_shape(&self, shape: &str) -> bool {
        self.0.keys().any(|(of, _, _)| of == shape)
    }

    /// A server's figure in a shape, by number of the run.
    #[must_use]
    pub fn figure(&self, shape: &str, server: &str, figure: &str) -> BTreeMap<u32, f64> {
        self.runs(shape, server)
            .filter_map(|(number, run)| Some((number, *run.figures.get(figure)?)))
            .collect()
    }

    /// Faults of the runs of those servers that `of` picks, in words.
    #[must_use]
    pub fn faults(&self, of: impl Fn(&str) -> bool) -> Vec<String> {
        let picked = self.0.iter().filter(|((_, server, _), _)| of(server));
        let lines = picked.flat_map(|((shape, server, number), run)| {
            run.faults.iter().map(move |(fault, count)| {
                format!("{shape}, {server}, run {number}: {fault} {count}")
            })
        });
        lines.collect()
    }

    /// The medians of everybody in every shape.
    #[must_use]
    pub fn medians(&self) -> Vec<Medians> {
        let mut keys: Vec<(&str, &str)> = self
            .0
            .keys()
            .map(|(shape, server, _)| (shape.as_str(), server.as_str()))
            .collect();
        keys.dedup();
        let medians = |(shape, server): (&str, &str)| {
            let mut by_figure: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
            for (_, run) in self.runs(shape, server) {
                for (name, value) in &run.figures {
                    by_figure.entry(name).or_default().push(*value);
                }
            }
            let figures = by_figure.into_iter().filter_map(|(name, mut values)| {
                values.sort_by(f64::total_cmp);
                Some((name.to_owned(), median(&values)?))
            });
            Medians {
                shape: shape.to_owned(),
                server: server.to_owned(),
                runs: self.runs(shape, server).count(),
                figures: figures.collect(),
            }
        };
        keys.into_iter().map(medians).collect()
    }

    fn runs<'a>(
        &'a self,
        shape: &'a str,
        server: &'a str,
    ) -> impl Iterator<Item = (u32, &'a Run)> + 'a {
        let of = self.0.iter();
        of.filter(move |((of_shape, of_server, _), _)| of_shape == shape && of_server == server)
            .map(|((_, _, number), run)| (*number, run))
    }
}

/// The middle of sorted values; of two middles, their mean.
#[must_use]
pub fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get(sorted.len().checked_sub(1)? / 2)?;
    Some(f64::midpoint(lower, upper))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let what = format!("read {}", folder.display());
    let entries = fs::read_dir(folder).doing(&what)?;
    entries
        .map(|entry| Ok(entry.doing(&what)?.path()))
        .collect()
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let cases: [(&[f64], Option<f64>); 4] = [
            (&[], None),
            (&[3.0], Some(3.0)),
            (&[1.0, 2.0], Some(1.5)),
            (&[1.0, 2.0, 9.0], Some(2.0)),
        ];
        for (values, expected) in cases {
            assert_eq!(median(values), expected);
        }
    }

    #[test]
    fn results_are_read_from_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        let shape = folder.path().join("paced");
        fs::create_dir(&shape).unwrap();
        for (file, text) in [
            (
                "floor-event-2.json",
                r#"{"rate": 10, "spin": true, "faults": {"lost": 0}}"#,
            ),
            (
                "floor-event-11.json",
                r#"{"rate": 20, "window": null, "faults": {"lost": 3}}"#,
            ),
            ("notes.txt", "no result"),
        ] {
            fs::write(shape.join(file), text).unwrap();
        }
        let results = Results::read(folder.path(), &[]).unwrap();
        let rates = BTreeMap::from([(2, 10.0), (11, 20.0)]);
        assert_eq!(results.figure("paced", "floor-event", "rate"), rates);
        let fault = "paced, floor-event, run 11: lost 3";
        assert_eq!(results.faults(|server| server == "floor-event"), [fault]);
        assert!(results.faults(|server| server == "floor").is_empty());
        let [medians] = results.medians().try_into().unwrap();
        assert_eq!((medians.runs, medians.figures["rate"]), (2, 15.0));
        assert!(Results::read(&shape, &[]).is_err());

        let other = folder.path().join("pass");
        fs::create_dir(&other).unwrap();
        fs::write(
            other.join("sidestream-1.json"),
            r#"{"faults": {"lost": 1}}"#,
        )
        .unwrap();
        let read = |shapes: &[&str]| {
            let shapes: Vec<String> = shapes.iter().map(|&shape| shape.to_owned()).collect();
            Results::read(folder.path(), &shapes)
        };
        let all = |_: &str| true;
        assert_eq!(read(&["paced"]).unwrap().faults(all), [fault]);
        assert_eq!(read(&[]).unwrap().faults(all).len(), 2);
        assert!(read(&["paced", "idle"]).is_err());
    }
}
