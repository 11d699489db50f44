"""What Slicer asks of the worker and what the worker answers: one class for each message, and the words of both.

:mod:`.words` holds the words and rules that both sides share; :mod:`.worker`, :mod:`.images`, :mod:`.strokes`,
:mod:`.cases` and :mod:`.foreign` the messages; :mod:`.codec` brings them into :class:`llmboost.wire.Message` and back,
by their type hints alone. All of it needs the standard library and NumPy alone, for both sides import it.
"""
