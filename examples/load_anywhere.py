"""Export a checkpoint, and load it where this package is not installed.

One sees the files of an export, and a model whose classes come from the code in that folder.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from planned_diffusion.hub.export import export
from planned_diffusion.loading.embedded import EMBEDDED

# Needs torch and transformers, nothing else; nothing of this package is imported here.
ELSEWHERE = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = sys.argv[1]
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
inputs = tokenizer("Which currency and which capital does Kenya have?", return_tensors="pt")
answer = model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
print(tokenizer.decode(answer, skip_special_tokens=True))
print("classes from:", type(model).__module__.split(".")[0])
print("planned_diffusion imported:", "planned_diffusion" in sys.modules)
"""

with tempfile.TemporaryDirectory() as folder:
    exported = export(str(EMBEDDED), Path(folder) / "exported")
    code = [name for name in exported.files if name.endswith(".py")]
    print(f"{len(code)} files of code, and {', '.join(name for name in exported.files if name not in code)}")
    subprocess.run([sys.executable, "-c", ELSEWHERE, exported.folder], check=True, cwd=folder)
