"""What an operator does with the stack: look into jobs and chats, and change them safely.

Reading changes nothing that a worker or a producer sees. What is written respects the workers'
protocol: conditional on the generation, refused while a lease is live.
"""
