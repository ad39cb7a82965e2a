"""A Spark cluster behind ssh: YARN (HDInsight) or standalone."""
