//! Where endpoints come from: static lists, files, DNS.
