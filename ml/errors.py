"""What all errors of this package that a person can put right have in common.

InputError
├── SchemaError         a schema file is not one
├── ExamplesError       lines of a file are not examples of the schema
├── EncoderError        an encoder cannot be loaded, or not be tuned
├── TrainingError       there is too little, or nothing, to learn from
├── SamplingError       cases cannot be chosen so
├── SimulationError     what is asked for cannot be simulated on these cases
├── RulesError          values are no rules of the gate
├── TrackingError       there is no MLflow, or no server that takes runs
├── ModelFolderError    a model folder is missing, damaged, or of another format
└── CheckpointError     a published checkpoint is not of the layout that can be imported
"""

from __future__ import annotations


class InputError(ValueError):
    """What was given cannot be used; the message says what was found and what was expected."""
