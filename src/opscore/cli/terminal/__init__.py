"""The operator's terminal, `opscore top`: what it reads (board), how it looks (app, dialogs).

Only this package imports Textual, and only when the command is used: it is an optional extra.
"""
