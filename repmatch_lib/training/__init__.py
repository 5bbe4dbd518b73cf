"""Pre-trained encoders under frozen heads, and the one loop that trains them: LoRA, full, fine-tuning."""
