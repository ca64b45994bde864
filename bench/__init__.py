"""Measurements of s3discovery on real servers, each beside a control or a wanted figure."""
