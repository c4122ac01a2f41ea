# A worker of the phone verification; for an app of your own, copy that to app.py instead.
#   docker build --tag holdfast .
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY examples examples
RUN python -m venv /opt/holdfast && /opt/holdfast/bin/pip install --no-cache-dir '.[fast,postgres]'

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home holdfast
COPY --from=build /opt/holdfast /opt/holdfast
COPY examples/phone_verification/app.py /app/app.py
WORKDIR /app
USER 10001
ENV PATH=/opt/holdfast/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOLDFAST_HOST=0.0.0.0
EXPOSE 7071
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7071/readyz', timeout=2)"]
# In this form the server itself gets SIGTERM, and comes to its end in order.
ENTRYPOINT ["holdfast"]
CMD ["serve", "app.py"]
