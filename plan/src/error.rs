//! From DataFusion's and the parser's errors to one error with a place.
