//! Decimal text to fixed-point and back, compared with arithmetic on digits. The first byte chooses the scale.
#![no_main]

use engine_core::event::VALUE_MAX;
use engine_core::fixed::{DecimalError, Money, decimal_places, parse_decimal, parse_decimal_i128, write_decimal};
use libfuzzer_sys::fuzz_target;
use venues::json::Scanner;
use venues::kraken::message::parse_number;

/// The value at `scale`, by moving digits about. The number must read `-?d+(.d+)?([eE][+-]?d{1,4})?`.
fn oracle(text: &str, scale: u8) -> Result<i128, DecimalError> {
    let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    if rest.is_empty() {
        return Err(DecimalError::Empty);
    }
    let (mantissa, exponent) = rest.split_once(['e', 'E']).map_or((rest, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || fraction.is_some_and(|fraction| !digits(fraction)) {
        return Err(DecimalError::Garbage);
    }
    let exponent: i64 = match exponent {
        None => 0,
        Some(text) => {
            let magnitude = text.strip_prefix(['+', '-']).unwrap_or(text);
            if !digits(magnitude) || magnitude.len() > 4 {
                return Err(DecimalError::Garbage);
            }
            let value: i64 = magnitude.parse().map_err(|_| DecimalError::Garbage)?;
            if text.starts_with('-') { -value } else { value }
        }
    };
    let fraction = fraction.unwrap_or_default();
    let mut all = format!("{whole}{fraction}").trim_start_matches('0').to_owned();
    if all.is_empty() {
        return Ok(0);
    }
    let mut shift = i64::from(scale) - fraction.len() as i64 + exponent;
    while shift > 0 && all.len() <= 60 {
        all.push('0');
        shift -= 1;
    }
    while shift < 0 {
        match all.pop() {
            Some('0') => shift += 1,
            _ => return Err(DecimalError::Precision),
        }
    }
    let magnitude: i128 = if shift > 0 { Err(DecimalError::Overflow) } else { all.parse().map_err(|_| DecimalError::Overflow) }?;
    Ok(if negative { -magnitude } else { magnitude })
}

fuzz_target!(|data: &[u8]| {
    let Some((&scale, text)) = data.split_first() else { return };
    let scale = scale % 19;
    let wide = parse_decimal_i128(text, scale);
    let narrow = parse_decimal(text, scale);
    let want = std::str::from_utf8(text).map_err(|_| DecimalError::Garbage).and_then(|text| oracle(text, scale));
    match (&wide, &want) {
        (Ok(got), Ok(want)) => assert_eq!(got, want),
        (Ok(got), Err(error)) => panic!("{got}, but it is no number: {error}"),
        // Nobody sends more digits than this, or moves the point farther.
        (Err(DecimalError::Overflow | DecimalError::Precision), Ok(_)) => {
            assert!(text.len() > 30 || text.contains(&b'e') || text.contains(&b'E'))
        }
        (Err(error), Ok(want)) => panic!("{error}, but it is {want}"),
        (Err(_), Err(_)) => {}
    }
    match (&narrow, &wide) {
        (Ok(narrow), Ok(wide)) => assert_eq!(i128::from(*narrow), *wide),
        // The most negative number has no magnitude: the short way refuses it.
        (Err(_), Ok(wide)) => assert!(i64::try_from(*wide).is_err() || *wide == i128::from(i64::MIN)),
        (Ok(_), Err(error)) => panic!("the long way alone finds {error}"),
        (Err(_), Err(_)) => {}
    }
    assert_eq!(Money::parse(text).map(|money| money.0), parse_decimal_i128(text, Money::SCALE));

    let bounded = narrow.ok().filter(|value| (-VALUE_MAX..=VALUE_MAX).contains(value));
    assert_eq!(parse_number(text, scale).ok().map(|number| number.value), bounded);
    if text.iter().all(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        let quoted = [b"\"", text, b"\""].concat();
        let mut scanner = Scanner::new(&quoted);
        assert_eq!(scanner.decimal(scale).and_then(|value| scanner.end().map(|()| value)).ok(), bounded);
    }
    if let Ok(places) = decimal_places(text)
        && places <= 18
    {
        assert_ne!(parse_decimal_i128(text, places), Err(DecimalError::Precision), "that many places hold it");
    }
    if let Ok(value) = narrow {
        let mut out = [0; 22];
        let len = write_decimal(value, scale, &mut out);
        assert_eq!(parse_decimal(&out[..len], scale), Ok(value), "what is written is read back");
    }
});
