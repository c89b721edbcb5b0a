"""The HTML report: what a run folder and its data say, measured, drawn and set on one self-contained page.

`facts` reads the folder, `measure` and `attacked` ask the product, `svg`, `charts`, `scatter`, `matrix` and `pictures`
draw. What is told depends on what the product is: `seen` tells of classifiers of images, `tables` of models of tables,
`found` of experiments, `together` of groups and snapshots. `sections`, `trained`, `style` and `page` set the page.
Nothing here is loaded from anywhere: no library, no font.
"""
