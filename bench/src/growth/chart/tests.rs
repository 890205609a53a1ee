//! What stands in the file, not how it looks.

use super::*;

fn chart(stacked: bool) -> Chart {
    let series =
        |name: &str, points: &[(f64, f64)]| Series { name: name.to_owned(), points: points.to_vec() };
    Chart {
        title: "Cost <of> it".to_owned(),
        x: Scale { label: "partitions".to_owned(), log: true, ticks: vec![1.0, 16.0, 1_000.0] },
        y: Scale { label: "CPU-µs per operation".to_owned(), log: !stacked, ticks: vec![] },
        series: vec![series("one", &[(1.0, 2.0), (16.0, 3.0)]), series("other", &[(1.0, 1.0), (16.0, 0.5)])],
        stacked,
    }
}

fn times(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

#[test]
fn a_chart_has_its_axes_its_legend_and_a_ground_of_its_own() {
    let svg = chart(true).svg().unwrap();
    for text in ["partitions", "CPU-µs per operation", "one", "other", "Cost &lt;of&gt; it", "16", "1,000"] {
        assert!(svg.lines().any(|line| line.trim() == text), "{text} in {svg}");
    }
    let ground = svg.lines().nth(1).expect("it has lines");
    assert!(ground.contains(r##"<rect x="0" y="0" width="880" height="460" opacity="1" fill="#FFFFFF""##));
    assert_eq!(times(&svg, "<script"), 0);
    assert!(svg.trim_end().ends_with("</svg>"));
}

#[test]
fn bars_are_drawn_only_where_something_was_measured() {
    let svg = chart(true).svg().unwrap();
    // Of two points, and the one of the legend; none at 1,000.
    assert_eq!(times(&svg, r##"fill="#0072B2""##), 3);
    assert_eq!(times(&svg, "<circle"), 0);
}

#[test]
fn lines_have_their_points() {
    let svg = chart(false).svg().unwrap();
    assert_eq!((times(&svg, "<circle"), times(&svg, r##"stroke="#E69F00""##)), (4, 1));
}

#[test]
fn a_chart_of_nothing_is_drawn() {
    let svg = Chart { series: vec![], ..chart(false) }.svg().unwrap();
    assert_eq!(times(&svg, "<circle"), 0);
}

#[test]
fn ticks_are_round() {
    assert_eq!(steps(31.0), [0.0, 10.0, 20.0, 30.0]);
    assert_eq!(decades(0.4, 12.0), [0.5, 1.0, 2.0, 5.0, 10.0]);
    assert_eq!([1.5, 999.0, 1_000.0, 12_345_678.0].map(number), ["1.5", "999", "1,000", "12,345,678"]);
}
