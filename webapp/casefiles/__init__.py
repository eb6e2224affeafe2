"""Files of cases as people have them: read row by row, with every fault named by row and field."""
