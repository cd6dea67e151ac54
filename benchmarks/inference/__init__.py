"""What headrace's inference costs over the engines that it runs, measured beside them."""
