"""ImgEdit-Bench, Basic suite: a judge's three scores for every edit, read and averaged."""
