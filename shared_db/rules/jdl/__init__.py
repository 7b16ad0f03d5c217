"""JDL, the text form of a job: reading, writing, storing, describing and expanding it, without any I/O."""
