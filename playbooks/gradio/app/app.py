"""An example app. Replace it with your own."""

import time

import gradio as gr


def square(number):
    return f"Its square is {number**2}."


def count(number):
    for done in range(1, int(number) + 1):
        time.sleep(0.2)
        yield f"{done} of {number} done"


with gr.Blocks(title="Hello") as app:
    number = gr.Slider(0, 100, 10, step=1, label="A number")
    result = gr.Markdown()
    number.change(square, number, result)
    progress = gr.Markdown()
    gr.Button("Count").click(count, number, progress)

if __name__ == "__main__":
    app.launch()
