"""What runs inside Label Studio's process: its own application, with a way in for the people of Caseloop.

Only Label Studio's virtual environment can import these modules.
"""
