"""The service: HTTP shapes that clients know, in front of a fleet.

    protocol   one connection: sizes, counts and times it may take
    app        one request: who may ask (guard, keys), what is asked (routes, shapes), what went wrong (problems)
    answers    what the handlers of all shapes share: texts in, answers of the fleet out
"""
