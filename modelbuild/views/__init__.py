"""What is shown of builds."""
