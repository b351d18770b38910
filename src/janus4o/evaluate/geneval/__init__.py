"""GenEval: does a picture show the objects, counts, colours and positions its prompt asks for?"""
